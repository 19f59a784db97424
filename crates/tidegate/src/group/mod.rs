//! Several keys, deployments or servers of one model as one target.
//!
//! # When to use it
//! For services that can take the same calls: three deployments in three regions, two accounts of one provider, a server of
//! your own beside a hosted one. A group of them is one target of a [chain](crate::FallbackLayer), or stands alone.
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
//! Every member has the weight 1, and there is no [affinity](Affinity). Members with a model that is in the built-in table of
//! models take no request that their model is known not to support, if the models of the members differ.
//!
//! # The choice of a member
//! 1. Members that have failed are left out for a while: for a second after the first failure, twice as long after each
//!    further one up to a minute, or as long as the provider reported; a minute and more if the key is invalid or its quota
//!    is used up. After that one attempt finds out whether the member is back. If all members are left out, the one that is
//!    back first takes the call.
//!    The cooldowns of a key are shared with other processes through the [`store`](crate::store#cooldowns) of the member's stack.
//! 2. Two of the others are drawn at random, by their weights. Of those two, the one with the lower expected time to the
//!    first token takes the call, multiplied by its load and divided by the part of its quota that is left. The differences
//!    to tower's `PeakEwma` and its `p2c` are in the sources of `choice` and `first_token`: the average is not the peak, since
//!    the time to a first token grows with the prompt; equal members get their shares exactly; and an estimate without calls
//!    is forgotten within a minute.
//! 3. A member whose gates would reject the call, or let it wait, is left for one that would admit it at once. If there is
//!    none, the call waits in the queue that is expected to be the shortest; and if all reject, it goes to the member that
//!    will admit it first, whose rejection is that of the group. A chain waits for it as for any other target.
//!
//! With an [affinity](Group::affinity), the calls of a conversation go to one member, as long as it is healthy and has no
//! more than its share of the calls of the last minute and a quarter; otherwise to the next one in the order that the
//! conversation and the names of the members give. The order is the same in every process.
//!
//! # Failures
//! A member that fails is followed by another one at once, if the deadline and the [budget of
//! attempts](crate::provider::AttemptBudget) allow it and the code is fallbackable. So a member whose
//! [retry](crate::RetryLayer) would repeat the attempt makes no retry while another member can take the call; only the last
//! one has its retries.
//!
//! # Rejections
//! None of its own, but for the deadline: it passes while the body of a request arrives, or before a member is ready.
//!
//! # Streams
//! As with [`FallbackLayer`](crate::FallbackLayer): once the head of a successful response has arrived, no other member is
//! called. A call is in flight until its body has ended or is dropped. A body that fails counts against its member.
//!
//! # Common mistakes
//! Members that share their gates: build a stack for each. Members with different prices or abilities: order them in a
//! chain. A group around a stack with retries, in another retry: each call is then repeated at every member.
//!
//! # Cost
//! A group of one costs about 170 instructions. With several members, each call has an allocation and a copy of the head
//! of its request, for the next member.

mod affinity;
mod body;
mod call;
mod capabilities;
mod choice;
mod cooldown;
mod first_token;
mod future;
mod gate_view;
mod handle;
mod info;
mod member;
mod member_set;
mod member_state;
mod members;
mod rendezvous;
mod service;
mod snapshot;
mod store_link;
mod ticks;
mod weights;

pub use affinity::Affinity;
pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use handle::Handle;
pub use info::GroupMember;
pub(crate) use info::LateMember;
pub use member::Member;
pub use service::Group;
pub(crate) use snapshot::ChoiceReason;
pub use snapshot::{Choices, GroupSnapshot, MemberSnapshot, PromptTokens};

#[cfg(test)]
mod tests;
