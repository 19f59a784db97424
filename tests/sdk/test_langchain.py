"""LangChain for Python against a gateway with scripted providers: see scripted_gateway.rs."""

import unittest

import test_clients
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

QUESTION = "When is high water in Brest?"


class tide_at(BaseModel):  # noqa: N801: the name of the tool
    """The tide in a port."""

    port: str


def setUpModule():
    test_clients.setUpModule()


class OpenAi(unittest.TestCase):
    PREFIX = ""

    def chat(self, model):
        url = f"{test_clients.base_url}/v1"
        return ChatOpenAI(model=self.PREFIX + model, base_url=url, api_key="the-caller's", max_retries=0, timeout=10)

    def test_a_plain_response(self):
        self.assertEqual(self.chat("plain-text").invoke(QUESTION).text, test_clients.TEXT)

    def test_a_stream(self):
        chunks = self.chat("plain-text").stream(QUESTION)
        self.assertEqual("".join(chunk.text for chunk in chunks), test_clients.TEXT)

    def test_structured_output_by_a_tool(self):
        tide = self.chat("calls-a-tool").with_structured_output(tide_at, method="function_calling")
        self.assertEqual(tide.invoke(QUESTION), tide_at(port="Brest"))

    def test_structured_output_by_a_schema(self):
        tide = self.chat("answers-in-json").with_structured_output(tide_at, method="json_schema")
        self.assertEqual(tide.invoke(QUESTION), tide_at(port="Brest"))

    def test_a_stream_that_breaks_off_is_an_error(self):
        with self.assertRaises(Exception):
            list(self.chat("is-cut-off").stream(QUESTION))


class Responses(unittest.TestCase):
    def test_a_stream_that_breaks_off_is_an_error(self):
        chat = ChatOpenAI(
            model="is-cut-off",
            base_url=f"{test_clients.base_url}/v1",
            api_key="the-caller's",
            use_responses_api=True,
            max_retries=0,
            timeout=10,
        )
        with self.assertRaisesRegex(Exception, "the stream broke after 1 token"):
            list(chat.stream(QUESTION))


class Anthropic(OpenAi):
    def chat(self, model):
        return ChatAnthropic(
            model=self.PREFIX + model,
            base_url=test_clients.base_url,
            api_key="the-caller's",
            max_tokens=100,
            max_retries=0,
            timeout=10,
        )


class OpenAiOfAnthropic(OpenAi):
    """The same tests, with providers of Anthropic's dialect only."""

    PREFIX = "translated-"


class AnthropicOfOpenAi(Anthropic):
    """The same tests, with providers of OpenAI's dialect only."""

    PREFIX = "translated-"


if __name__ == "__main__":
    unittest.main()
