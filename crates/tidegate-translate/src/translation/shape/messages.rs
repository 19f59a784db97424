use serde_json::Value;

use super::Field::{Dropped, DroppedIf, Read, Within};
use super::{Shape, is_empty};

const CACHE: &str = "it only concerns a prompt cache";
const REFUSED: &str = "it only concerns what follows a refusal by Anthropic's own filter";

pub(super) static REQUEST: Shape = Shape {
    path: "",
    fields: &[
        ("model", Read),
        ("messages", Within(&MESSAGE)),
        ("system", Within(&SYSTEM)),
        ("tools", Within(&TOOL)),
        ("tool_choice", Within(&TOOL_CHOICE)),
        ("max_tokens", Read),
        ("stop_sequences", Read),
        ("temperature", Read),
        ("top_p", Read),
        ("stream", Read),
        ("metadata", Within(&METADATA)),
        ("thinking", Within(&THINKING)),
        ("output_config", Within(&OUTPUT_CONFIG)),
        ("output_format", Within(&OUTPUT_FORMAT)),
        // Rejected by the translation, unless the value has no effect.
        ("container", Read),
        ("mcp_servers", Read),
        ("context_management", Read),
        ("inference_geo", Read),
        ("top_k", Dropped("it only advises the sampling")),
        ("service_tier", Dropped("it only concerns speed and price")),
        ("speed", Dropped("it only concerns speed and price")),
        ("cache_control", Dropped(CACHE)),
        ("diagnostics", Dropped(CACHE)),
        ("fallbacks", Dropped(REFUSED)),
        ("fallback_credit_token", Dropped(REFUSED)),
    ],
};

static METADATA: Shape = Shape { path: "metadata.", fields: &[("user_id", Read)] };

static THINKING: Shape = Shape {
    path: "thinking.",
    fields: &[
        ("type", Read),
        ("budget_tokens", Read),
        ("display", Dropped("it only concerns how reasoning is shown")),
        ("block_binding", Dropped("it only concerns signed reasoning, which is dropped")),
    ],
};

static OUTPUT_CONFIG: Shape =
    Shape { path: "output_config.", fields: &[("effort", Read), ("format", Within(&OUTPUT_FORMAT))] };

static OUTPUT_FORMAT: Shape = Shape {
    path: "output_config.format.",
    fields: &[("type", Read), ("schema", Read), ("name", Dropped("the schema has a name of its own"))],
};

static SYSTEM: Shape = Shape {
    path: "system[].",
    fields: &[
        ("type", Read),
        ("text", Read),
        ("cache_control", Dropped(CACHE)),
        ("citations", DroppedIf(is_empty)),
    ],
};

static MESSAGE: Shape = Shape {
    path: "messages[].",
    fields: &[("role", Read), ("content", Within(&BLOCK)), ("output_config", Within(&TURN_CONFIG))],
};

static TURN_CONFIG: Shape = Shape { path: "messages[].output_config.", fields: &[("effort", Read)] };

static BLOCK: Shape = Shape {
    path: "messages[].content[].",
    fields: &[
        ("type", Read),
        ("text", Read),
        ("thinking", Read),
        ("signature", Read),
        ("data", Dropped("reasoning is signed by, and valid for, one provider only")),
        ("source", Within(&SOURCE)),
        ("title", Read),
        ("id", Read),
        ("name", Read),
        ("input", Read),
        ("tool_use_id", Read),
        ("is_error", Dropped("the text of the result says the same")),
        // Enabled citations are rejected by the translation, and those of a response are dropped.
        ("citations", Read),
        ("content", Within(&RESULT)),
        ("cache_control", Dropped(CACHE)),
        ("caller", DroppedIf(is_direct)),
        ("from", Dropped(REFUSED)),
        ("to", Dropped(REFUSED)),
        ("trigger", Dropped(REFUSED)),
    ],
};

static RESULT: Shape = Shape {
    path: "messages[].content[].content[].",
    fields: &[
        ("type", Read),
        ("text", Read),
        ("source", Within(&SOURCE)),
        ("cache_control", Dropped(CACHE)),
        ("citations", DroppedIf(is_empty)),
    ],
};

static SOURCE: Shape = Shape {
    path: "messages[].content[].source.",
    fields: &[("type", Read), ("media_type", Read), ("data", Read), ("url", Read)],
};

static TOOL: Shape = Shape {
    path: "tools[].",
    fields: &[
        ("type", Read),
        ("name", Read),
        ("description", Read),
        ("input_schema", Read),
        ("strict", Read),
        ("cache_control", Dropped(CACHE)),
        ("eager_input_streaming", Dropped("it only concerns the size of events")),
        ("input_examples", Dropped("they only advise how the tool is called")),
        ("defer_loading", DroppedIf(is_empty)),
        ("allowed_callers", DroppedIf(|callers| *callers == serde_json::json!(["direct"]))),
    ],
};

static TOOL_CHOICE: Shape = Shape {
    path: "tool_choice.",
    fields: &[("type", Read), ("name", Read), ("disable_parallel_tool_use", Read)],
};

/// Whether the model itself made the call.
fn is_direct(caller: &Value) -> bool {
    caller["type"] == "direct"
}
