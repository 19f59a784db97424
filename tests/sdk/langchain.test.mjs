// LangChain for JavaScript against a gateway with scripted providers.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { ChatAnthropic } from "@langchain/anthropic";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

import { PREFIXES, TEXT, startGateway } from "./gateway.mjs";

const QUESTION = "When is high water in Brest?";
const TIDE = z.object({ port: z.string() });
const OPTIONS = { apiKey: "the-caller's", maxRetries: 0 };

let gateway;

before(async () => {
  gateway = await startGateway();
});
after(() => gateway.stop());

const CLIENTS = {
  openai: (model) => new ChatOpenAI({ ...OPTIONS, model, configuration: { baseURL: `${gateway.baseUrl}/v1` } }),
  anthropic: (model) => new ChatAnthropic({ ...OPTIONS, model, maxTokens: 100, anthropicApiUrl: gateway.baseUrl }),
};

test("a stream of a response that breaks off is an error", async () => {
  const configuration = { baseURL: `${gateway.baseUrl}/v1` };
  const chat = new ChatOpenAI({ ...OPTIONS, model: "is-cut-off", useResponsesApi: true, configuration });
  await assert.rejects(async () => {
    for await (const chunk of await chat.stream(QUESTION)) void chunk;
  }, /the stream broke after 1 token/);
});

for (const [name, chat] of Object.entries(CLIENTS)) {
  for (const prefix of PREFIXES) {
    describe(`${name} with ${prefix || "native"} models`, () => {
      test("a plain response", async () => {
        assert.equal((await chat(`${prefix}plain-text`).invoke(QUESTION)).text, TEXT);
      });

      test("a stream", async () => {
        let text = "";
        for await (const chunk of await chat(`${prefix}plain-text`).stream(QUESTION)) text += chunk.text;
        assert.equal(text, TEXT);
      });

      test("structured output by a tool", async () => {
        const options = { name: "tide_at", method: "functionCalling" };
        const tide = chat(`${prefix}calls-a-tool`).withStructuredOutput(TIDE, options);
        assert.deepEqual(await tide.invoke(QUESTION), { port: "Brest" });
      });

      test("structured output by a schema", async () => {
        const options = { name: "tide", method: "jsonSchema" };
        const tide = chat(`${prefix}answers-in-json`).withStructuredOutput(TIDE, options);
        assert.deepEqual(await tide.invoke(QUESTION), { port: "Brest" });
      });

      test("a stream that breaks off is an error", async () => {
        await assert.rejects(async () => {
          for await (const chunk of await chat(`${prefix}is-cut-off`).stream(QUESTION)) void chunk;
        });
      });
    });
  }
}
