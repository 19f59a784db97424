use http::{Uri, request};
use tidegate_core::{Translation, Translator, Untranslatable};
use tidegate_translate::{ChatToMessages, MessagesToChat};

use super::{ApiDialect, TargetAddress};

/// Translates each request whose path is that of another dialect than the target's. The others pass
/// unchanged.
pub(super) struct DialectTranslator {
    address: TargetAddress,
    dialect: ApiDialect,
    to_messages: ChatToMessages,
    to_chat: MessagesToChat,
}

impl DialectTranslator {
    /// The translator for the target at `address`. `omits_reasoning`: reasoning that came without a signature
    /// is not given to callers, who would send it to targets that reject it.
    pub(super) fn new(address: &TargetAddress, omits_reasoning: bool) -> Self {
        let model = address.model_of_kind();
        Self {
            address: address.clone(),
            dialect: address.settings().dialect(),
            to_messages: ChatToMessages::new(&model),
            to_chat: MessagesToChat::new(&model).omit_reasoning(omits_reasoning),
        }
    }
}

impl Translator for DialectTranslator {
    fn request(&self, head: &mut request::Parts, body: &[u8]) -> Result<Translation, Untranslatable> {
        match self.dialect {
            ApiDialect::Anthropic => self.to_messages.request(head, body),
            ApiDialect::OpenAi | ApiDialect::Gemini => self.to_chat.request(head, body),
        }
    }

    fn applies_to(&self, uri: &Uri) -> bool {
        self.address.is_translated(uri)
    }
}
