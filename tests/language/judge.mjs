// Judges a document of ours: node judge.mjs DOCUMENT < RECORDS prints a line of JSON: the errors that
// Spectral's rules for AsyncAPI find, and what a strict JSON Schema validator says of each record.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// From the folder that it is run in, where npm has installed what is needed.
const require = createRequire(`${process.cwd()}/`);
const { Spectral } = require("@stoplight/spectral-core");
const { asyncapi } = require("@stoplight/spectral-rulesets");
const Ajv = require("ajv").default;
const formats = require("ajv-formats").default;

const document = JSON.parse(readFileSync(process.argv[2]));
const records = JSON.parse(readFileSync(0));

const spectral = new Spectral();
spectral.setRuleset({ extends: [[asyncapi, "recommended"]] });
const ERROR = 0;
const found = (await spectral.run(document)).filter(({ severity }) => severity === ERROR);

const ajv = formats(new Ajv({ strict: true, allErrors: true }));
ajv.addKeyword("x-class-version");

// Each schema of the document by its name: the document around them is none.
const named = (schema) =>
  JSON.parse(JSON.stringify(schema).replaceAll('"#/components/schemas/', '"'));
for (const [name, schema] of Object.entries(document.components.schemas))
  ajv.addSchema(named(schema), name);
const validator = (schema) => ajv.compile(named(schema));

const messages = Object.entries(document.components.messages).map(([key, { headers, payload }]) => [
  key,
  { headers: validator(headers), value: validator(payload.schema ?? payload) },
]);
const validators = Object.fromEntries(messages);

const refused = records.flatMap(({ key, headers, value }) => {
  const valid = validators[key];
  return [
    [valid.headers, headers],
    [valid.value, value],
  ].flatMap(([judge, judged]) => (judge(judged) ? [] : [{ key, errors: judge.errors }]));
});

console.log(JSON.stringify({ spectral: found.map(({ code, path }) => [code, path]), refused }));
