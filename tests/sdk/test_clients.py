"""The official clients of OpenAI and Anthropic against a gateway with scripted providers: see scripted_gateway.rs.

    pip install -r tests/sdk/requirements.txt
    python tests/sdk/test_clients.py
"""

import json
import os
import subprocess
import unittest

import anthropic
import openai

# No request uses a proxy, so nothing leaves the machine.
os.environ["NO_PROXY"] = "127.0.0.1"

TEXT = "high water at noon"
FIRST_WORD = "high "
MESSAGES = [{"role": "user", "content": "When is high water in Brest?"}]
PARAMETERS = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
GATEWAY = ["cargo", "run", "-q", "-p", "tidegate-tests", "--example", "scripted_gateway"]

base_url = None


def setUpModule():
    global base_url
    gateway = subprocess.Popen(GATEWAY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    # The gateway exits at the end of its input.
    unittest.addModuleCleanup(gateway.communicate)
    line = gateway.stdout.readline()
    if not line:
        raise RuntimeError(f"the gateway did not start, and exited with {gateway.wait()}")
    base_url = json.loads(line)["base_url"]


class OpenAi(unittest.TestCase):
    PREFIX = ""
    CALL_ID = "call_1"
    TOOLS = [{"type": "function", "function": {"name": "tide_at", "parameters": PARAMETERS}}]

    def setUp(self):
        self.client = openai.OpenAI(base_url=f"{base_url}/v1", api_key="the-caller's", max_retries=0, timeout=10)
        self.addCleanup(self.client.close)

    def create(self, model, **more):
        return self.client.chat.completions.create(model=self.PREFIX + model, messages=MESSAGES, **more)

    def read_until_error(self, model):
        """Returns the received text, and the error that ended the stream."""
        text = []
        with self.assertRaises(openai.APIError) as caught:
            for chunk in self.create(model, stream=True):
                text.append(chunk.choices[0].delta.content or "")
        return "".join(text), caught.exception

    def test_a_plain_response(self):
        response = self.create("plain-text")
        self.assertEqual(response.choices[0].message.content, TEXT)
        self.assertEqual(response.choices[0].finish_reason, "stop")
        self.assertEqual(response.usage.completion_tokens, 4)

    def test_a_stream(self):
        chunks = list(self.create("plain-text", stream=True, stream_options={"include_usage": True}))
        choices = [choice for chunk in chunks for choice in chunk.choices]
        self.assertEqual("".join(choice.delta.content or "" for choice in choices), TEXT)
        self.assertEqual(choices[-1].finish_reason, "stop")
        self.assertEqual(chunks[-1].usage.completion_tokens, 4)

    def test_a_tool_call(self):
        choice = self.create("calls-a-tool", tools=self.TOOLS).choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assert_tool_call(choice.message)

    def test_a_tool_call_in_a_stream(self):
        with self.client.chat.completions.stream(
            model=self.PREFIX + "streams-a-tool-call", messages=MESSAGES, tools=self.TOOLS
        ) as stream:
            choice = stream.get_final_completion().choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assert_tool_call(choice.message)

    def assert_tool_call(self, message):
        (call,) = message.tool_calls
        self.assertEqual((call.id, call.function.name), (self.CALL_ID, "tide_at"))
        self.assertEqual(json.loads(call.function.arguments), {"port": "Brest"})

    def test_429_is_a_rate_limit_error(self):
        for stream in (False, True):
            with self.subTest(stream=stream), self.assertRaises(openai.RateLimitError) as caught:
                self.create("limited", stream=stream)
            self.assertEqual(caught.exception.code, "rate_limit_exceeded")
            self.assertEqual(caught.exception.response.headers["retry-after"], "7")

    def test_503_is_an_internal_server_error(self):
        for stream in (False, True):
            with self.subTest(stream=stream), self.assertRaises(openai.InternalServerError) as caught:
                self.create("overloaded", stream=stream)
            self.assertEqual(caught.exception.status_code, 503)
            self.assertEqual(caught.exception.code, "server_is_overloaded")

    def test_an_error_event_before_the_first_token_is_an_error_with_a_status(self):
        with self.assertRaises(openai.InternalServerError) as caught:
            self.create("fails-at-once", stream=True)
        self.assertEqual(caught.exception.status_code, 503)

    def test_an_error_event_after_the_first_token_is_an_api_error(self):
        text, error = self.read_until_error("fails-midway")
        self.assertEqual((text, error.code), (FIRST_WORD, "server_is_overloaded"))

    def test_a_stream_cut_after_the_first_token_is_an_api_error(self):
        text, error = self.read_until_error("is-cut-off")
        self.assertEqual(text, FIRST_WORD)
        # The code is set by the gateway. A broken connection would have none.
        self.assertEqual(error.code, "E3001")

    def test_a_response_stream_cut_after_the_first_token_is_an_api_error(self):
        text = []
        with self.assertRaises(openai.APIError) as caught:
            for event in self.client.responses.create(model="is-cut-off", input="When?", stream=True):
                text.append(getattr(event, "delta", ""))
        self.assertEqual("".join(text), FIRST_WORD)
        self.assertIn("the stream broke after 1 token", caught.exception.message)

    def test_an_unreachable_provider_is_an_internal_server_error(self):
        with self.assertRaises(openai.InternalServerError) as caught:
            self.create("unreachable")
        self.assertEqual(caught.exception.status_code, 502)

    def test_a_model_without_a_route_is_not_found(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.create("unknown-model")
        self.assertIn("unknown-model", caught.exception.message)


class Anthropic(unittest.TestCase):
    PREFIX = ""
    CALL_ID = "toolu_1"
    TOOLS = [{"name": "tide_at", "input_schema": PARAMETERS}]

    def setUp(self):
        self.client = anthropic.Anthropic(base_url=base_url, api_key="the-caller's", max_retries=0, timeout=10)
        self.addCleanup(self.client.close)

    def create(self, model, **more):
        return self.client.messages.create(model=self.PREFIX + model, max_tokens=100, messages=MESSAGES, **more)

    def stream(self, model, **more):
        return self.client.messages.stream(model=self.PREFIX + model, max_tokens=100, messages=MESSAGES, **more)

    def read_until_error(self, model):
        """Returns the received text, and the error that ended the stream."""
        text = []
        with self.assertRaises(anthropic.APIError) as caught, self.stream(model) as stream:
            for delta in stream.text_stream:
                text.append(delta)
        return "".join(text), caught.exception

    def test_a_plain_response(self):
        response = self.create("plain-text")
        self.assertEqual([block.text for block in response.content], [TEXT])
        self.assertEqual(response.stop_reason, "end_turn")
        self.assertEqual(response.usage.output_tokens, 4)

    def test_a_stream(self):
        with self.stream("plain-text") as stream:
            text = "".join(stream.text_stream)
            response = stream.get_final_message()
        self.assertEqual((text, response.content[0].text), (TEXT, TEXT))
        self.assertEqual(response.stop_reason, "end_turn")
        self.assertEqual(response.usage.output_tokens, 4)

    def test_a_tool_call(self):
        self.assert_tool_call(self.create("calls-a-tool", tools=self.TOOLS))

    def test_a_tool_call_in_a_stream(self):
        with self.stream("streams-a-tool-call", tools=self.TOOLS) as stream:
            self.assert_tool_call(stream.get_final_message())

    def assert_tool_call(self, response):
        call = response.content[-1]
        self.assertEqual((response.stop_reason, call.type, call.id), ("tool_use", "tool_use", self.CALL_ID))
        self.assertEqual((call.name, call.input), ("tide_at", {"port": "Brest"}))

    def test_429_is_a_rate_limit_error(self):
        for stream in (False, True):
            with self.subTest(stream=stream), self.assertRaises(anthropic.RateLimitError) as caught:
                self.create("limited", stream=stream)
            self.assert_is("rate_limit_error", caught.exception)
            self.assertEqual(caught.exception.response.headers["retry-after"], "7")

    def test_503_is_an_internal_server_error(self):
        for stream in (False, True):
            with self.subTest(stream=stream), self.assertRaises(anthropic.InternalServerError) as caught:
                self.create("overloaded", stream=stream)
            self.assertEqual(caught.exception.status_code, 503)
            self.assert_is("overloaded_error", caught.exception)

    def test_an_error_event_before_the_first_token_is_an_error_with_a_status(self):
        with self.assertRaises(anthropic.InternalServerError) as caught:
            self.create("fails-at-once", stream=True)
        self.assertEqual(caught.exception.status_code, 503)

    def test_an_error_event_after_the_first_token_is_an_api_error(self):
        text, error = self.read_until_error("fails-midway")
        self.assertEqual(text, FIRST_WORD)
        self.assert_is("overloaded_error", error)

    def test_a_stream_cut_after_the_first_token_is_an_api_error(self):
        text, error = self.read_until_error("is-cut-off")
        self.assertEqual(text, FIRST_WORD)
        # The code is set by the gateway. A broken connection would have none.
        self.assert_is("api_error", error)

    def test_an_unreachable_provider_is_an_internal_server_error(self):
        with self.assertRaises(anthropic.InternalServerError) as caught:
            self.create("unreachable")
        self.assertEqual(caught.exception.status_code, 502)

    def test_a_model_without_a_route_is_not_found(self):
        with self.assertRaises(anthropic.NotFoundError) as caught:
            self.create("unknown-model")
        self.assertIn("unknown-model", caught.exception.message)

    def assert_is(self, kind, error):
        self.assertEqual(error.body["error"]["type"], kind)


class OpenAiOfAnthropic(OpenAi):
    """The same tests, with providers of Anthropic's dialect only."""

    PREFIX = "translated-"
    CALL_ID = "toolu_1"


class AnthropicOfOpenAi(Anthropic):
    """The same tests, with providers of OpenAI's dialect only."""

    PREFIX = "translated-"
    # `call_1` may recur in another response, and only OpenAI accepts a repeated id.
    CALL_ID = "chatcmpl-1_call_1_0"


if __name__ == "__main__":
    unittest.main()
