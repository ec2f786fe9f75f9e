/** Validates a value against a JSON schema. Supports the keywords that the schemas of docs/ use; any other is an error. */

type Schema = Readonly<Record<string, unknown>>;

/** Violations of the schema by `value`, each with its place; empty: none. */
export function violations(schema: Schema, value: unknown): string[] {
  return check(schema, value, "$", schema);
}

function check(schema: Schema, value: unknown, at: string, root: Schema): string[] {
  return Object.entries(schema).flatMap(([keyword, wanted]): string[] => {
    const rule = RULES[keyword];
    if (rule === undefined) throw new Error(`${at}: the schema has the keyword ${keyword}, which is not checked here`);
    return rule(wanted as never, value, at, root, schema);
  });
}

type Rule = (wanted: never, value: unknown, at: string, root: Schema, schema: Schema) => string[];

const nothing: Rule = () => [];
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const unless = (holds: boolean, at: string, what: string): string[] => (holds ? [] : [`${at}: ${what}`]);

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === "string",
  number: (value) => Number.isFinite(value),
  integer: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === "boolean",
  null: (value) => value === null,
  array: Array.isArray,
  object: isObject,
};

const RULES: Readonly<Record<string, Rule>> = {
  $schema: nothing,
  $defs: nothing,
  title: nothing,
  description: nothing,
  type: (wanted: string, value, at) => unless(TYPES[wanted]?.(value) ?? false, at, `is no ${wanted}`),
  const: (wanted, value, at) => unless(value === wanted, at, `is not ${String(wanted)}`),
  enum: (wanted: readonly unknown[], value, at) =>
    unless(wanted.includes(value), at, `is not one of ${wanted.join(", ")}`),
  pattern: (wanted: string, value, at) =>
    unless(new RegExp(wanted).test(String(value)), at, `does not match ${wanted}`),
  minimum: (wanted: number, value, at) => unless(Number(value) >= wanted, at, `is below ${wanted}`),
  maximum: (wanted: number, value, at) => unless(Number(value) <= wanted, at, `is above ${wanted}`),
  minItems: (wanted: number, value, at) =>
    unless((value as readonly unknown[]).length >= wanted, at, `has fewer than ${wanted} items`),
  maxItems: (wanted: number, value, at) =>
    unless((value as readonly unknown[]).length <= wanted, at, `has more than ${wanted} items`),
  items: (wanted: Schema, value, at, root) =>
    Array.isArray(value) ? value.flatMap((item, index) => check(wanted, item, `${at}[${index}]`, root)) : [],
  properties: (wanted: Readonly<Record<string, Schema>>, value, at, root) =>
    isObject(value)
      ? Object.entries(wanted).flatMap(([name, schema]) =>
          name in value ? check(schema, value[name], `${at}.${name}`, root) : [],
        )
      : [],
  required: (wanted: readonly string[], value, at) =>
    isObject(value) ? wanted.flatMap((name) => unless(name in value, at, `has no ${name}`)) : [],
  additionalProperties: (_wanted, value, at, _root, { properties }) =>
    isObject(value)
      ? Object.keys(value).flatMap((name) =>
          unless(name in (properties as object), at, `has ${name}, which is not described`),
        )
      : [],
  anyOf: (wanted: readonly Schema[], value, at, root) => {
    const answers = wanted.map((schema) => check(schema, value, at, root));
    return answers.some((answer) => answer.length === 0) ? [] : (answers[0] as string[]);
  },
  $ref: (wanted: string, value, at, root) => {
    const name = wanted.replace("#/$defs/", "");
    return check((root["$defs"] as Readonly<Record<string, Schema>>)[name] as Schema, value, at, root);
  },
};
