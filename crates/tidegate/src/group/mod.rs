//! Several keys, deployments or servers of one model as one target.
//!
//! # When to use it
//! For services that can take the same calls: three deployments in three regions, two accounts of one
//! provider, a server of your own beside a hosted one. A group of them is one target of a
//! [chain](crate::FallbackLayer), or stands alone.
//!
//! # Example
//! ```
//! use http::{Request, Response};
//! use tidegate::{Payload, ResilienceBuilder, group::{Group, GroupMember}};
//! use tower::service_fn;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tidegate::BoxError> {
//! let client = service_fn(async |_: Request<Payload>| {
//!     let answer = r#"{"choices":[{"message":{"role":"assistant","content":"hello"}}]}"#;
//!     Ok::<_, tidegate::BoxError>(Response::new(Payload::from(answer)))
//! });
//! let stack = |name| ResilienceBuilder::new(name).service(client);
//!
//! let group = Group::new("gpt-4o", [stack("azure-east/gpt-4o"), stack("azure-west/gpt-4o")])?;
//! let response = group.send(Request::new(Payload::from("{}"))).await?;
//! println!("{} responded", GroupMember::of(response.extensions()).unwrap().member());
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//! Every member has the weight 1, and there is no [affinity](Affinity). Members with a model that is in the
//! built-in table of models take no request that their model is known not to support, if the models of the
//! members differ.
//!
//! # The choice of a member
//! 1. A member that has failed is left out for a while: for a second after the first failure, twice as long
//!    after each further one up to a minute, or as long as the provider reported; for a minute, doubling up
//!    to ten minutes, if the key is invalid, its quota is used up, or it [has no access](#failures) to the
//!    model, unless the request carries a key of its caller. After that one attempt is a test of the member: a success ends the cooldown, a failure begins
//!    the next one, and an attempt that hangs is followed by another one after a minute, or after the last cooldown if that
//!    was longer. If all members are
//!    left out, the call goes to the one whose cooldown ends first, and a failure begins that cooldown again
//!    without doubling it. A [reset](Handle::reset) ends a cooldown. The cooldowns of a key are shared with
//!    other processes through the [`store`](crate::store#cooldowns) of the member's stack.
//! 2. Two of the others are drawn at random, by their weights. They are compared by the expected time to the
//!    first token, multiplied by the load, and, if less than half of the quota is left, divided by twice that
//!    part. The second one takes the call if it is better by the factor 1.25, else the first. The
//!    differences to tower's `PeakEwma` and its `p2c` are in the sources of `choice` and `first_token`: the
//!    average is not the peak, since the time to a first token grows with the prompt; equal members get their
//!    shares exactly; and an estimate without calls expires within a minute.
//! 3. A member whose gates would reject the call, or queue it, is passed over for one that would admit it at
//!    once. If there is none, the call waits in the queue with the shortest expected wait; and if all reject,
//!    it goes to the member that will admit it first, whose rejection is that of the group. A chain waits for
//!    it as for any other target.
//! 4. A hedge goes to another member than the late attempt, if one can take it, and to none that is left out.
//!
//! With an [affinity](Group::affinity), the calls of a conversation go to one member, as long as it is
//! healthy and has at most 1.25 times its share of the calls of the last minute, and a margin for chance;
//! otherwise to the next one in the order that the conversation and the names of the members give. The order
//! is the same in every process. The [snapshot](MemberSnapshot::prompt_tokens) of a member has the tokens
//! that its provider read from its cache of prompts.
//!
//! # Failures
//! A member that fails is followed by another one at once, if the deadline and the [budget of
//! attempts](crate::provider::AttemptBudget) allow it and the code is fallbackable. So a member whose
//! [retry](crate::RetryLayer) would repeat the attempt makes no retry if another member can take the call by
//! then; only the last one has its retries.
//!
//! A member that refuses the request (E1003, E1004) is followed by another one as well, since the model and the
//! key are those of the member. If the provider's code is that of a missing model or deployment (as `model_not_found`
//! or `not_found_error`), and a later member takes the request, it is left out; any other refusal may be for
//! what is in one request. If all refuse,
//! the last response is returned, and none is left out. A refusal is returned at once if it may be about a
//! resource of the caller: the request is no POST, or its body names a response, a conversation or a file. A
//! response or an item that only another account can have stored (`previous_response_not_found`, `item_not_found`),
//! or encrypted (`invalid_encrypted_content`), is looked for at the other members, without a cooldown.
//!
//! # Rejections
//! None of its own, but for the deadline: it passes while the body of a request arrives, or before a member
//! is ready.
//!
//! # Streams
//! As with [`FallbackLayer`](crate::FallbackLayer): once the head of a successful response has arrived, no
//! other member is called. A call is in flight until its body has ended or is dropped. A body that fails
//! counts against its member.
//!
//! # Common mistakes
//! Members that share their gates: build a stack for each. Members with different prices or abilities: order
//! them in a chain. A group around a stack with retries, in another retry: each call is then repeated at
//! every member.
//!
//! # Cost
//! The choice among members with equal or other weights costs about 200 instructions, the look at their gates
//! included. Where a gate has keys, a limit counts tokens or is shared, or less than half of a quota is left,
//! the gates of two members are looked at in full. With several members, each call has two allocations and a
//! copy of the head of its request, for the next member; where the stack of a member has retries, it keeps a
//! copy of its own. With an affinity, the tokens of each attempt are metered.
//!
//! A group of one has no choice, no state and no allocation: a branch, and a future and a body of another
//! type. As a later target of a chain it is its member.

mod affinity;
mod body;
mod call;
mod capabilities;
mod choice;
mod cooldown;
mod disposition;
mod first_token;
mod future;
mod gate_view;
mod info;
mod member;
mod member_set;
mod member_state;
mod members;
mod other_members;
mod rendezvous;
mod service;
mod snapshot;
mod store_link;
mod weights;

pub use affinity::Affinity;
pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use info::GroupMember;
pub(crate) use info::LateMember;
pub use member::Member;
pub use members::Handle;
pub(crate) use other_members::OtherMembers;
pub use service::Group;
pub(crate) use snapshot::ChoiceReason;
pub use snapshot::{Choices, GroupSnapshot, MemberSnapshot, PromptTokens};

#[cfg(test)]
mod tests;
