"""OpenAI's and Anthropic's own clients, in front of a gateway with scripted providers: see stage.rs.

    pip install -r tests/sdk/requirements.txt
    python tests/sdk/test_clients.py
"""

import json
import os
import subprocess
import unittest

import anthropic
import openai

# Whatever proxy there is, nothing here leaves the machine.
os.environ["NO_PROXY"] = "127.0.0.1"

SAID = "high water at noon"
FIRST_WORD = "high "
MESSAGES = [{"role": "user", "content": "When is high water in Brest?"}]
PARAMETERS = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
STAGE = ["cargo", "run", "-q", "-p", "tidegate-tests", "--example", "stage"]

base_url = None


def setUpModule():
    global base_url
    stage = subprocess.Popen(STAGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    # With the end of its input it leaves the stage.
    unittest.addModuleCleanup(stage.communicate)
    line = stage.stdout.readline()
    if not line:
        raise RuntimeError(f"the stage did not open, and left with {stage.wait()}")
    base_url = json.loads(line)["base_url"]


class OpenAi(unittest.TestCase):
    PREFIX = ""
    CALL_ID = "call_1"
    TOOLS = [{"type": "function", "function": {"name": "tide_at", "parameters": PARAMETERS}}]

    def setUp(self):
        self.client = openai.OpenAI(base_url=f"{base_url}/v1", api_key="the-caller's", max_retries=0, timeout=10)
        self.addCleanup(self.client.close)

    def ask(self, model, **more):
        return self.client.chat.completions.create(model=self.PREFIX + model, messages=MESSAGES, **more)

    def listen(self, model):
        """The words that came, and the error that ended them."""
        said = []
        with self.assertRaises(openai.APIError) as caught:
            for chunk in self.ask(model, stream=True):
                said.append(chunk.choices[0].delta.content or "")
        return "".join(said), caught.exception

    def test_a_plain_answer(self):
        answer = self.ask("speaks")
        self.assertEqual(answer.choices[0].message.content, SAID)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.completion_tokens, 4)

    def test_a_stream(self):
        chunks = list(self.ask("speaks", stream=True, stream_options={"include_usage": True}))
        choices = [choice for chunk in chunks for choice in chunk.choices]
        self.assertEqual("".join(choice.delta.content or "" for choice in choices), SAID)
        self.assertEqual(choices[-1].finish_reason, "stop")
        self.assertEqual(chunks[-1].usage.completion_tokens, 4)

    def test_a_tool_call(self):
        choice = self.ask("calls-a-tool", tools=self.TOOLS).choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assert_asks_for_the_tide(choice.message)

    def test_a_tool_call_in_a_stream(self):
        with self.client.chat.completions.stream(
            model=self.PREFIX + "streams-a-tool-call", messages=MESSAGES, tools=self.TOOLS
        ) as stream:
            choice = stream.get_final_completion().choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assert_asks_for_the_tide(choice.message)

    def assert_asks_for_the_tide(self, message):
        (call,) = message.tool_calls
        self.assertEqual((call.id, call.function.name), (self.CALL_ID, "tide_at"))
        self.assertEqual(json.loads(call.function.arguments), {"port": "Brest"})

    def test_429_is_a_rate_limit_error(self):
        for stream in (False, True):
            with self.subTest(stream=stream), self.assertRaises(openai.RateLimitError) as caught:
                self.ask("limited", stream=stream)
            self.assertEqual(caught.exception.code, "rate_limit_exceeded")
            self.assertEqual(caught.exception.response.headers["retry-after"], "7")

    def test_503_is_an_internal_server_error(self):
        for stream in (False, True):
            with self.subTest(stream=stream), self.assertRaises(openai.InternalServerError) as caught:
                self.ask("overloaded", stream=stream)
            self.assertEqual(caught.exception.status_code, 503)
            self.assertEqual(caught.exception.code, "server_is_overloaded")

    def test_an_error_event_before_the_first_token_is_an_error_with_a_status(self):
        with self.assertRaises(openai.InternalServerError) as caught:
            self.ask("fails-at-once", stream=True)
        self.assertEqual(caught.exception.status_code, 503)

    def test_an_error_event_after_the_first_token_is_an_api_error(self):
        said, error = self.listen("fails-midway")
        self.assertEqual((said, error.code), (FIRST_WORD, "server_is_overloaded"))

    def test_a_stream_cut_after_the_first_token_is_an_api_error(self):
        said, error = self.listen("is-cut-off")
        self.assertEqual(said, FIRST_WORD)
        # The gateway's word; a broken connection would have none.
        self.assertEqual(error.code, "E3001")

    def test_a_provider_out_of_reach_is_an_internal_server_error(self):
        with self.assertRaises(openai.InternalServerError) as caught:
            self.ask("unreachable")
        self.assertEqual(caught.exception.status_code, 502)

    def test_a_model_without_a_route_is_not_found(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.ask("nobody-has-it")
        self.assertIn("nobody-has-it", caught.exception.message)


class Anthropic(unittest.TestCase):
    PREFIX = ""
    CALL_ID = "toolu_1"
    TOOLS = [{"name": "tide_at", "input_schema": PARAMETERS}]

    def setUp(self):
        self.client = anthropic.Anthropic(base_url=base_url, api_key="the-caller's", max_retries=0, timeout=10)
        self.addCleanup(self.client.close)

    def ask(self, model, **more):
        return self.client.messages.create(model=self.PREFIX + model, max_tokens=100, messages=MESSAGES, **more)

    def stream(self, model, **more):
        return self.client.messages.stream(model=self.PREFIX + model, max_tokens=100, messages=MESSAGES, **more)

    def listen(self, model):
        """The words that came, and the error that ended them."""
        said = []
        with self.assertRaises(anthropic.APIError) as caught, self.stream(model) as stream:
            for text in stream.text_stream:
                said.append(text)
        return "".join(said), caught.exception

    def test_a_plain_answer(self):
        answer = self.ask("speaks")
        self.assertEqual([block.text for block in answer.content], [SAID])
        self.assertEqual(answer.stop_reason, "end_turn")
        self.assertEqual(answer.usage.output_tokens, 4)

    def test_a_stream(self):
        with self.stream("speaks") as stream:
            said = "".join(stream.text_stream)
            answer = stream.get_final_message()
        self.assertEqual((said, answer.content[0].text), (SAID, SAID))
        self.assertEqual(answer.stop_reason, "end_turn")
        self.assertEqual(answer.usage.output_tokens, 4)

    def test_a_tool_call(self):
        self.assert_asks_for_the_tide(self.ask("calls-a-tool", tools=self.TOOLS))

    def test_a_tool_call_in_a_stream(self):
        with self.stream("streams-a-tool-call", tools=self.TOOLS) as stream:
            self.assert_asks_for_the_tide(stream.get_final_message())

    def assert_asks_for_the_tide(self, answer):
        call = answer.content[-1]
        self.assertEqual((answer.stop_reason, call.type, call.id), ("tool_use", "tool_use", self.CALL_ID))
        self.assertEqual((call.name, call.input), ("tide_at", {"port": "Brest"}))

    def test_429_is_a_rate_limit_error(self):
        for stream in (False, True):
            with self.subTest(stream=stream), self.assertRaises(anthropic.RateLimitError) as caught:
                self.ask("limited", stream=stream)
            self.assert_is("rate_limit_error", caught.exception)
            self.assertEqual(caught.exception.response.headers["retry-after"], "7")

    def test_503_is_an_internal_server_error(self):
        for stream in (False, True):
            with self.subTest(stream=stream), self.assertRaises(anthropic.InternalServerError) as caught:
                self.ask("overloaded", stream=stream)
            self.assertEqual(caught.exception.status_code, 503)
            self.assert_is("overloaded_error", caught.exception)

    def test_an_error_event_before_the_first_token_is_an_error_with_a_status(self):
        with self.assertRaises(anthropic.InternalServerError) as caught:
            self.ask("fails-at-once", stream=True)
        self.assertEqual(caught.exception.status_code, 503)

    def test_an_error_event_after_the_first_token_is_an_api_error(self):
        said, error = self.listen("fails-midway")
        self.assertEqual(said, FIRST_WORD)
        self.assert_is("overloaded_error", error)

    def test_a_stream_cut_after_the_first_token_is_an_api_error(self):
        said, error = self.listen("is-cut-off")
        self.assertEqual(said, FIRST_WORD)
        # The gateway's word; a broken connection would have none.
        self.assert_is("api_error", error)

    def test_a_provider_out_of_reach_is_an_internal_server_error(self):
        with self.assertRaises(anthropic.InternalServerError) as caught:
            self.ask("unreachable")
        self.assertEqual(caught.exception.status_code, 502)

    def test_a_model_without_a_route_is_not_found(self):
        with self.assertRaises(anthropic.NotFoundError) as caught:
            self.ask("nobody-has-it")
        self.assertIn("nobody-has-it", caught.exception.message)

    def assert_is(self, kind, error):
        self.assertEqual(error.body["error"]["type"], kind)


class OpenAiOfAnthropic(OpenAi):
    """All of it once more, with providers that speak Anthropic's dialect only."""

    PREFIX = "translated-"
    CALL_ID = "toolu_1"


class AnthropicOfOpenAi(Anthropic):
    """All of it once more, with providers that speak OpenAI's dialect only."""

    PREFIX = "translated-"
    # `call_1` may come again in another answer, and nobody but OpenAI would take it then.
    CALL_ID = "chatcmpl-1_call_1_0"


if __name__ == "__main__":
    unittest.main()
