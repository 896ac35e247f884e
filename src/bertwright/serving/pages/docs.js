"use strict";
(() => {
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  let schemas = {};
  const resolve = (schema) => (schema.$ref ? schemas[schema.$ref.split("/").pop()] : schema);
  const describeType = (schema) => {
    if (schema.$ref) return schema.$ref.split("/").pop();
    if (schema.anyOf) return schema.anyOf.map(describeType).join(" or ");
    return schema.type === "array" ? `array of ${describeType(schema.items)}` : schema.type ?? "any";
  };
  const table = (columns, rows, caption) => {
    const head = make("tr", {}, ...columns.map((name) => make("th", { textContent: name, scope: "col" })));
    const body = rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))));
    const element = make("table", {}, make("caption", { textContent: caption }), make("thead", {}, head), make("tbody", {}, ...body));
    return make("div", { className: "table", tabIndex: 0 }, element);
  };
  // The fields of a type, and of the types that it refers to.
  const describe = (schema, seen = new Set()) => {
    const { title, properties = {}, required = [] } = resolve(schema);
    if (seen.has(title) || !Object.keys(properties).length) return [];
    seen.add(title);
    const rows = Object.entries(properties).map(([name, field]) => [
      make("code", { textContent: name }), describeType(field) + (required.includes(name) ? "" : ", optional"), field.description ?? "",
    ]);
    const references = JSON.stringify(properties).matchAll(/"#\/components\/schemas\/(\w+)"/g);
    const nested = [...references].flatMap(([reference]) => describe({ $ref: JSON.parse(reference) }, seen));
    return [table(["field", "type", "meaning"], rows, title), ...nested];
  };
  const show = (document_) => {
    schemas = document_.components.schemas;
    const sections = Object.entries(document_.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => {
        const parts = [make("h2", {}, make("span", { className: "method", textContent: method.toUpperCase() }), make("code", { textContent: path })),
          make("p", { textContent: operation.description ?? operation.summary })];
        const content = operation.requestBody?.content["application/json"];
        if (content) {
          const url = new URL(path.slice(1), document.baseURI);
          const body = JSON.stringify(content.example).replaceAll("'", "'\\''");
          parts.push(make("pre", { tabIndex: 0, textContent: `curl ${url} -H 'Content-Type: application/json' -d '${body}'` }));
          const response = operation.responses["200"].content["application/json"].schema;
          for (const [title, schema] of [["Request", content.schema], ["Response", response]]) {
            parts.push(make("details", {}, make("summary", { textContent: title }), ...describe(schema)));
          }
          const statuses = Object.entries(operation.responses).map(([status, { description }]) => [status, description]);
          parts.push(make("details", {}, make("summary", { textContent: "Statuses" }), table(["status", "meaning"], statuses, "")));
        }
        return make("section", {}, ...parts);
      }));
    document.getElementById("operations").replaceChildren(...sections);
  };
  fetch("openapi.json").then((response) => response.json()).then(show).catch(() => {
    const error = document.getElementById("error");
    error.textContent = "The server does not answer.";
    error.hidden = false;
  });
})();
