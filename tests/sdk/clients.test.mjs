// The official clients of OpenAI and Anthropic for Node against a gateway with scripted providers.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import OpenAI from "openai";

import { FIRST_WORD, MESSAGES, PARAMETERS, PREFIXES, TEXT, startGateway } from "./gateway.mjs";

const OPTIONS = { apiKey: "the-caller's", maxRetries: 0, timeout: 10_000 };

let gateway;

before(async () => {
  gateway = await startGateway();
});
after(() => gateway.stop());

/** Reads `stream` to its error, and returns the text before it and the error. */
async function readUntilError(stream, textOf) {
  let text = "";
  try {
    for await (const event of stream) text += textOf(event) ?? "";
  } catch (error) {
    return { text, error };
  }
  assert.fail(`the stream ended without an error after ${text}`);
}

test("a stream of a response that breaks off ends in an error", async () => {
  const client = new OpenAI({ ...OPTIONS, baseURL: `${gateway.baseUrl}/v1` });
  const stream = await client.responses.create({ model: "is-cut-off", input: "When?", stream: true });
  const { text, error } = await readUntilError(stream, (event) => event.delta);
  assert.equal(text, FIRST_WORD);
  assert.ok(error instanceof OpenAI.APIError, error);
  assert.match(error.message, /the stream broke after 1 token/);
});

for (const prefix of PREFIXES) {
  describe(`openai with ${prefix || "native"} models`, () => {
    const client = () => new OpenAI({ ...OPTIONS, baseURL: `${gateway.baseUrl}/v1` });
    const create = (model, more) =>
      client().chat.completions.create({ model: prefix + model, messages: MESSAGES, ...more });
    const deltaOf = (chunk) => chunk.choices[0]?.delta.content;

    test("a plain response", async () => {
      const response = await create("plain-text");
      assert.equal(response.choices[0].message.content, TEXT);
      assert.equal(response.choices[0].finish_reason, "stop");
      assert.equal(response.usage.completion_tokens, 4);
    });

    test("a stream", async () => {
      let text = "";
      let usage;
      for await (const chunk of await create("plain-text", {
        stream: true,
        stream_options: { include_usage: true },
      })) {
        text += deltaOf(chunk) ?? "";
        usage = chunk.usage ?? usage;
      }
      assert.equal(text, TEXT);
      assert.equal(usage.completion_tokens, 4);
    });

    for (const stream of [false, true]) {
      test(`the tool runner, stream: ${stream}`, async () => {
        const ports = [];
        const tideAt = ({ port }) => {
          ports.push(port);
          return "12:00";
        };
        const runner = client().chat.completions.runTools({
          model: `${prefix}uses-a-tool`,
          messages: MESSAGES,
          stream,
          tools: [
            {
              type: "function",
              function: { name: "tide_at", parse: JSON.parse, function: tideAt, parameters: PARAMETERS },
            },
          ],
        });
        assert.equal(await runner.finalContent(), TEXT);
        assert.deepEqual(ports, ["Brest"]);
        assert.ok(runner.messages.some((message) => message.role === "tool" && message.content === "12:00"));
      });
    }

    test("structured output", async () => {
      const response = await client().chat.completions.parse({
        model: `${prefix}answers-in-json`,
        messages: MESSAGES,
        response_format: { type: "json_schema", json_schema: { name: "tide", strict: true, schema: PARAMETERS } },
      });
      assert.deepEqual(JSON.parse(response.choices[0].message.content), { port: "Brest" });
    });

    test("errors have their types", async () => {
      await assert.rejects(create("limited"), (error) => {
        assert.ok(error instanceof OpenAI.RateLimitError, error);
        assert.equal(error.code, "rate_limit_exceeded");
        return true;
      });
      await assert.rejects(create("overloaded", { stream: true }), OpenAI.InternalServerError);
      await assert.rejects(create("unreachable"), (error) => {
        assert.ok(error instanceof OpenAI.InternalServerError, error);
        assert.deepEqual([error.status, error.type], [502, "server_error"]);
        return true;
      });
      await assert.rejects(create("unknown-model"), (error) => {
        assert.ok(error instanceof OpenAI.NotFoundError, error);
        assert.deepEqual([error.type, error.code], ["invalid_request_error", "model_not_found"]);
        return true;
      });
    });

    test("a stream that breaks off ends in an error", async () => {
      const { text, error } = await readUntilError(await create("is-cut-off", { stream: true }), deltaOf);
      assert.equal(text, FIRST_WORD);
      assert.ok(error instanceof OpenAI.APIError, error);
      assert.match(error.message, /the stream broke after 1 token/);
    });
  });

  describe(`anthropic with ${prefix || "native"} models`, () => {
    const client = () => new Anthropic({ ...OPTIONS, baseURL: gateway.baseUrl });
    const request = (model, more) => ({ model: prefix + model, max_tokens: 100, messages: MESSAGES, ...more });
    const create = (model, more) => client().messages.create(request(model, more));

    test("a plain response", async () => {
      const response = await create("plain-text");
      assert.deepEqual(response.content.map((block) => block.text), [TEXT]);
      assert.equal(response.stop_reason, "end_turn");
      assert.equal(response.usage.output_tokens, 4);
    });

    test("a stream", async () => {
      const response = await client().messages.stream(request("plain-text")).finalMessage();
      assert.deepEqual(response.content.map((block) => block.text), [TEXT]);
      assert.equal(response.usage.output_tokens, 4);
    });

    for (const stream of [false, true]) {
      test(`the tool runner, stream: ${stream}`, async () => {
        const ports = [];
        const tideAt = betaTool({
          name: "tide_at",
          description: "The time of high water",
          inputSchema: PARAMETERS,
          run: ({ port }) => {
            ports.push(port);
            return "12:00";
          },
        });
        const runner = client().beta.messages.toolRunner(request("uses-a-tool", { stream, tools: [tideAt] }));
        const response = await runner.runUntilDone();
        assert.deepEqual(response.content.map((block) => block.text), [TEXT]);
        assert.deepEqual(ports, ["Brest"]);
      });
    }

    test("tokens are counted", async () => {
      const count = await client().messages.countTokens({ model: `${prefix}plain-text`, messages: MESSAGES });
      assert.ok(count.input_tokens > 0);
    });

    test("errors have their types", async () => {
      const is = (type, kind, status) => (error) => {
        assert.ok(error instanceof type, error);
        assert.deepEqual([error.error.error.type, error.status], [kind, status]);
        return true;
      };
      await assert.rejects(create("limited"), is(Anthropic.RateLimitError, "rate_limit_error", 429));
      await assert.rejects(create("unreachable"), is(Anthropic.InternalServerError, "api_error", 502));
      await assert.rejects(create("unknown-model"), is(Anthropic.NotFoundError, "not_found_error", 404));
      await assert.rejects(create("overloaded", { stream: true }), Anthropic.InternalServerError);
    });

    test("a stream that breaks off ends in an error", async () => {
      const textOf = (event) => (event.type === "content_block_delta" ? event.delta.text : "");
      const { text, error } = await readUntilError(await create("is-cut-off", { stream: true }), textOf);
      assert.equal(text, FIRST_WORD);
      assert.match(error.message, /the stream broke after 1 token/);
    });
  });
}

test("models are listed and described in both dialects", async () => {
  const openai = new OpenAI({ ...OPTIONS, baseURL: `${gateway.baseUrl}/v1` });
  const anthropic = new Anthropic({ ...OPTIONS, baseURL: gateway.baseUrl });
  for (const client of [openai, anthropic]) {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.ok(ids.includes("plain-text") && ids.includes("translated-plain-text"), ids);
    assert.equal((await client.models.retrieve("plain-text")).id, "plain-text");
  }
  assert.equal((await anthropic.models.retrieve("plain-text")).type, "model");
});

test("a client does not repeat a call that the gateway has given up", async () => {
  const openai = new OpenAI({ ...OPTIONS, maxRetries: 2, baseURL: `${gateway.baseUrl}/v1` });
  const started = Date.now();
  const call = openai.chat.completions.create({ model: "given-up", messages: MESSAGES });
  await assert.rejects(call, (error) => error.headers.get("x-should-retry") === "false");
  assert.ok(Date.now() - started < 400, "the client has waited before another attempt");
});
