// Starts the gateway with scripted providers: see scripted_gateway.rs.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const ARGUMENTS = ["run", "-q", "-p", "tidegate-tests", "--example", "scripted_gateway"];

/** Returns the base URL of the gateway, and a function that stops it. */
export async function startGateway() {
  const gateway = spawn("cargo", ARGUMENTS, { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(gateway, "exit");
  const lines = createInterface({ input: gateway.stdout });
  const line = await Promise.race([once(lines, "line"), exited]);
  if (typeof line[0] !== "string") {
    throw new Error(`the gateway did not start, and exited with ${line[0]}`);
  }
  const stop = async () => {
    // The gateway exits at the end of its input.
    gateway.stdin.end();
    await exited;
  };
  return { baseUrl: JSON.parse(line[0]).base_url, stop };
}

export const TEXT = "high water at noon";
export const FIRST_WORD = "high ";
export const MESSAGES = [{ role: "user", content: "When is high water in Brest?" }];
export const PARAMETERS = {
  type: "object",
  properties: { port: { type: "string" } },
  required: ["port"],
  additionalProperties: false,
};

/** The clients of OpenAI and of Anthropic use models of both dialects; the other dialect is translated. */
export const PREFIXES = ["", "translated-"];
