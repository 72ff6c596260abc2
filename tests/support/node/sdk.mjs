// OpenAI's SDK for Node, pointed at the API: node sdk.mjs BASE_URL KEY. Prints what it got as JSON.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const ai = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "hello" }];
const told = {};

told.models = (await ai.models.list()).data.map((model) => model.id);

const completion = await ai.chat.completions.create({ model: "shout", messages });
told.chat = completion.choices[0].message.content;
const vote = await ai.chat.completions.create({ model: "triage", messages });
told.vote = vote.choices[0].message.content;

told.chunks = "";
for await (const chunk of await ai.chat.completions.create({ model: "recites", messages: order(30), stream: true })) {
  told.chunks += chunk.choices[0]?.delta?.content ?? "";
}
const helper = ai.chat.completions.stream({ model: "recites", messages: order(30) });
told.helper = (await helper.finalChatCompletion()).choices[0].message.content;

const response = await ai.responses.create({ model: "shout", input: "hello" });
told.response = [response.status, response.output_text];
const stream = ai.responses.stream({ model: "recites", input: order(30)[0].content });
told.streamed = (await stream.finalResponse()).output_text;

const background = await ai.responses.create({
  model: "recites", input: order(60)[0].content, background: true, stream: true,
});
const seen = [];
let id;
for await (const event of background) {
  if (event.type === "response.created") id = event.response.id;
  seen.push(event);
  if (seen.length === 6) break;
}
const rest = await ai.responses.retrieve(id, { stream: true, starting_after: seen.at(-1).sequence_number });
for await (const event of rest) seen.push(event);
told.numbers = seen.map((event) => event.sequence_number);
told.resumed = seen
  .filter((event) => event.type === "response.output_text.delta")
  .map((event) => event.delta)
  .join("");
told.ended = (await ai.responses.retrieve(id)).status;

const endless = await ai.responses.create({ model: "recites", input: order(9, 60)[0].content, background: true });
told.cancelled = (await ai.responses.cancel(endless.id)).status;

try {
  await ai.chat.completions.create({ model: "nobody", messages });
} catch (error) {
  told.error = [error.constructor.name, error.status, error.code];
}
console.log(JSON.stringify(told));

function order(words, pause_s = 0.01) {
  return [{ role: "user", content: JSON.stringify({ words, pause_s, path: "/dev/null" }) }];
}
