use super::Field::{Dropped, DroppedIf, Read, Within};
use super::{Shape, is_empty};

const ADVICE: &str = "it only advises the sampling";
const RECORDS: &str = "it is only for records of the provider";
const CACHE: &str = "it only concerns a prompt cache";
const REPEATED: &str = "it repeats what another field of the message says";
const BESIDE: &str = "a response said it beside its text, which is sent";
const SIGNED: &str = "reasoning is signed by, and valid for, one provider only";

pub(super) static REQUEST: Shape = Shape {
    path: "",
    fields: &[
        ("model", Read),
        ("messages", Within(&MESSAGE)),
        ("tools", Within(&TOOL)),
        ("tool_choice", Within(&TOOL_CHOICE)),
        ("parallel_tool_calls", Read),
        ("max_completion_tokens", Read),
        ("max_tokens", Read),
        ("stop", Read),
        ("temperature", Read),
        ("top_p", Read),
        ("top_k", Read),
        ("stream", Read),
        ("stream_options", Within(&STREAM_OPTIONS)),
        ("safety_identifier", Read),
        ("user", Read),
        ("response_format", Within(&RESPONSE_FORMAT)),
        ("reasoning_effort", Read),
        // Rejected by the translation, unless the value has no effect.
        ("n", Read),
        ("logprobs", Read),
        ("top_logprobs", Read),
        ("logit_bias", Read),
        ("frequency_penalty", Read),
        ("presence_penalty", Read),
        ("modalities", Read),
        ("audio", Read),
        ("web_search_options", Read),
        ("functions", Read),
        ("function_call", Read),
        ("seed", Dropped(ADVICE)),
        ("min_p", Dropped(ADVICE)),
        ("repetition_penalty", Dropped(ADVICE)),
        ("verbosity", Dropped("it only advises the length")),
        ("prediction", Dropped("it only makes the response faster")),
        ("service_tier", Dropped("it only concerns speed and price")),
        ("store", Dropped(RECORDS)),
        ("metadata", Dropped(RECORDS)),
        ("prompt_cache_key", Dropped(CACHE)),
        ("prompt_cache_retention", Dropped(CACHE)),
        ("prompt_cache_options", Dropped(CACHE)),
    ],
};

static TOOL_CHOICE: Shape =
    Shape { path: "tool_choice.", fields: &[("type", Read), ("function", Within(&CHOSEN_FUNCTION))] };

static CHOSEN_FUNCTION: Shape = Shape { path: "tool_choice.function.", fields: &[("name", Read)] };

static STREAM_OPTIONS: Shape = Shape {
    path: "stream_options.",
    fields: &[
        ("include_usage", Read),
        ("include_obfuscation", Dropped("it only concerns the size of events")),
        ("continuous_usage_stats", Dropped("it only concerns when usage is reported")),
    ],
};

static RESPONSE_FORMAT: Shape =
    Shape { path: "response_format.", fields: &[("type", Read), ("json_schema", Within(&JSON_SCHEMA))] };

static JSON_SCHEMA: Shape = Shape {
    path: "response_format.json_schema.",
    fields: &[
        ("name", Dropped("the target has no field for names of schemas")),
        ("description", Read),
        ("schema", Read),
        ("strict", Dropped("the target enforces every schema")),
    ],
};

static MESSAGE: Shape = Shape {
    path: "messages[].",
    fields: &[
        ("role", Read),
        ("content", Within(&PART)),
        ("refusal", Read),
        ("tool_calls", Within(&TOOL_CALL)),
        ("tool_call_id", Read),
        ("function_call", Read),
        ("audio", Read),
        ("name", Dropped("the target has no field for names of participants")),
        ("annotations", Dropped(BESIDE)),
        ("cache_control", Read),
        ("parsed", Dropped(REPEATED)),
        ("reasoning", Dropped(SIGNED)),
        ("reasoning_content", Dropped(SIGNED)),
        ("reasoning_details", Dropped(SIGNED)),
        ("reasoning_text", Dropped(SIGNED)),
        ("reasoning_opaque", Dropped(SIGNED)),
        ("thinking", Dropped(SIGNED)),
        ("extra_content", Dropped(SIGNED)),
        // Of LiteLLM's messages.
        ("provider_specific_fields", Dropped(BESIDE)),
        ("reasoning_items", Dropped(SIGNED)),
        ("thinking_blocks", Dropped(SIGNED)),
        ("images", DroppedIf(is_empty)),
        // Of Mistral's messages.
        ("prefix", DroppedIf(is_empty)),
    ],
};

static PART: Shape = Shape {
    path: "messages[].content[].",
    fields: &[
        ("type", Read),
        ("text", Read),
        ("refusal", Read),
        ("image_url", Within(&IMAGE_URL)),
        ("file", Within(&FILE)),
        ("cache_control", Read),
        ("prompt_cache_breakpoint", Read),
    ],
};

static IMAGE_URL: Shape = Shape {
    path: "messages[].content[].image_url.",
    fields: &[("url", Read), ("detail", Dropped("it only advises the resolution"))],
};

static FILE: Shape = Shape {
    path: "messages[].content[].file.",
    fields: &[("filename", Read), ("file_data", Read), ("file_id", Read)],
};

static TOOL_CALL: Shape = Shape {
    path: "messages[].tool_calls[].",
    fields: &[
        ("id", Read),
        ("type", Read),
        ("function", Within(&CALLED_FUNCTION)),
        ("index", Dropped("the order of the list says the same")),
        ("extra_content", Dropped(SIGNED)),
        ("provider_specific_fields", Dropped(BESIDE)),
    ],
};

static CALLED_FUNCTION: Shape = Shape {
    path: "messages[].tool_calls[].function.",
    fields: &[
        ("name", Read),
        ("arguments", Read),
        ("parsed_arguments", Dropped(REPEATED)),
        ("provider_specific_fields", Dropped(BESIDE)),
    ],
};

static TOOL: Shape = Shape {
    path: "tools[].",
    fields: &[("type", Read), ("function", Within(&FUNCTION)), ("cache_control", Read)],
};

static FUNCTION: Shape = Shape {
    path: "tools[].function.",
    fields: &[("name", Read), ("description", Read), ("parameters", Read), ("strict", Read)],
};
