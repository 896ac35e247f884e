"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  let models = [];
  let model = null;

  const showError = (sentence) => {
    $("error").textContent = sentence;
    $("error").hidden = !sentence;
  };

  // Characters are counted in code points, as Python does, and not in UTF-16 units.
  const bars = (items, name) => {
    const list = make("ul", { className: "bars" });
    if (name) list.setAttribute("aria-label", name);
    for (const item of items) {
      const value = item.probability ?? item.score;
      const fill = make("div", { className: "fill" });
      fill.style.width = `${100 * value}%`;
      const track = make("div", { className: "track" }, fill);
      track.setAttribute("aria-hidden", "true");
      list.append(make("li", {}, make("span", { textContent: item.label ?? item.text, dir: "auto" }), track,
        make("span", { className: "value", textContent: percent(value) })));
    }
    return list;
  };

  const highlight = (text, spans) => {
    const characters = [...text];
    const paragraph = make("p", { className: "text", dir: "auto" });
    let end = 0;
    for (const span of [...spans].sort((a, b) => a.start - b.start)) {
      if (span.start < end) continue;
      paragraph.append(characters.slice(end, span.start).join(""));
      const mark = make("mark", {}, characters.slice(span.start, span.end).join(""));
      if (span.label) {
        const score = span.score === undefined ? "" : ` ${percent(span.score)}`;
        mark.append(make("span", { className: "type", textContent: span.label + score }));
      }
      paragraph.append(mark);
      end = span.end;
    }
    paragraph.append(characters.slice(end).join(""));
    return paragraph;
  };

  const tags = (words) => {
    const paragraph = make("p", { className: "text", dir: "auto" });
    for (const word of words) {
      paragraph.append(make("span", { className: "word" }, word.text, make("span", { textContent: word.tag })), " ");
    }
    return paragraph;
  };

  // What a prediction shows follows from its fields, so that this page needs no list of tasks.
  const render = (prediction) => {
    const parts = [];
    const answer = prediction.answer ?? prediction.labels?.join(", ") ?? prediction.label ?? prediction.value;
    if (answer !== undefined) {
      const none = prediction.labels ? "no label" : "no answer";
      parts.push(make("p", { className: "answer", textContent: answer === "" ? none : answer, dir: "auto" }));
    }
    if (prediction.top) parts.push(bars(prediction.top, "Probabilities"));
    if (prediction.start !== undefined) {
      const place = prediction.start === null ? [] : [prediction];
      parts.push(highlight(prediction.text, place.map(({ start, end }) => ({ start, end }))));
    }
    if (prediction.spans?.length) parts.push(highlight(prediction.text, prediction.spans));
    else if (prediction.words) parts.push(tags(prediction.words));
    if (prediction.gaps) {
      parts.push(highlight(prediction.text, prediction.gaps));
      prediction.gaps.forEach((gap, i) => {
        parts.push(make("h3", { textContent: `Gap ${i + 1}` }), bars(gap.top, `Gap ${i + 1}`));
      });
    }
    return parts;
  };

  // Blue words raise the score, orange words lower it; a list has the numbers of the most important ones.
  const attributions = (explanation) => {
    const { words, texts } = explanation;
    const scale = Math.max(...words.map((word) => Math.abs(word.attribution))) || 1;
    const goal = explanation.target === "the value" ? explanation.target : `“${explanation.target}”`;
    const parts = [make("h3", { textContent: `Explanation of ${goal}` }),
      make("p", { className: "note", textContent: "Blue words raise the score, orange words (dashed line) lower it; the darker, the more." })];
    texts.forEach((text, i) => {
      const characters = [...text.text];
      const paragraph = make("p", { className: "text", dir: "auto" });
      let end = 0;
      for (const word of words.filter((each) => each.text === i)) {
        const weight = word.attribution / scale;
        const mark = make("mark", { className: weight > 0 ? "for" : "against", title: word.attribution.toFixed(3) },
          characters.slice(word.start, word.end).join(""));
        mark.style.setProperty("--weight", Math.abs(weight).toFixed(2));
        paragraph.append(characters.slice(end, word.start).join(""), mark);
        end = word.end;
      }
      paragraph.append(characters.slice(end).join(""));
      if (texts.length > 1) parts.push(make("p", { className: "note", textContent: text.name }));
      parts.push(paragraph);
    });
    const best = [...words].sort((a, b) => Math.abs(b.attribution) - Math.abs(a.attribution)).slice(0, 10);
    const list = make("ul", { className: "words" }, ...best.map((word) => make("li", {}, make("span", { textContent: word.word, dir: "auto" }),
      ` ${word.attribution > 0 ? "+" : "−"}${Math.abs(word.attribution).toFixed(3)}`)));
    list.setAttribute("aria-label", "Most important words");
    const score = `Score: ${explanation.quantity} ${explanation.score.toFixed(3)}, and ${explanation.baseline_score.toFixed(3)} if every token is `
      + `${explanation.baseline}. The words add ${explanation.total.toFixed(3)}.`;
    return [...parts, list, make("p", { className: "note", textContent: score }),
      ...explanation.notes.map((note) => make("p", { className: "note", textContent: note }))];
  };

  const read = () => {
    const input = {};
    for (const area of document.querySelectorAll("#fields textarea")) {
      const isList = area.dataset.list === "true";
      const value = isList ? area.value.split("\n").filter((line) => line.trim()) : area.value;
      if (value.length || area.required) input[area.name] = value;
    }
    return input;
  };

  const fill = (input) => {
    for (const area of document.querySelectorAll("#fields textarea")) {
      const value = input[area.name] ?? "";
      area.value = Array.isArray(value) ? value.join("\n") : value;
    }
  };

  const send = async (path, show) => {
    const body = JSON.stringify({ inputs: read() });
    showError("");
    $("predict").disabled = $("explain").disabled = true;
    $("status").textContent = "Predicting …";
    const begin = performance.now();
    try {
      const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body });
      const answer = await response.json();
      const milliseconds = performance.now() - begin;
      if (!response.ok) throw new Error(answer.error);
      $("result").replaceChildren(...show(answer));
      $("status").textContent = `Answered in ${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms.`;
      const url = new URL(path, document.baseURI);
      const quoted = body.replaceAll("'", "'\\''");
      $("command").textContent = `curl ${url} -H 'Content-Type: application/json' -d '${quoted}'`;
      $("response").textContent = JSON.stringify(answer, null, 2);
      $("raw").hidden = false;
    } catch (error) {
      $("result").replaceChildren();
      $("raw").hidden = true;
      $("status").textContent = "No prediction.";
      showError(error instanceof TypeError ? "The server does not answer." : error.message);
    }
    $("predict").disabled = $("explain").disabled = false;
  };
  const predict = () => send(model.predict, (answer) => render(answer.predictions[0]));
  const explain = () => send(model.explain, (answer) => [...render(answer.prediction), ...attributions(answer.explanation)]);

  const choose = (name) => {
    model = models.find((each) => each.name === name);
    $("title").textContent = model.name;
    document.title = `${model.name} – bertwright`;
    $("description").textContent = model.description;
    const fields = model.form.map((key) => {
      const schema = model.input.properties[key];
      const isList = schema.type === "array";
      const isRequired = (model.input.required ?? []).includes(key);
      const area = make("textarea", { id: `field-${key}`, name: key, rows: isList ? 3 : 2, required: isRequired, dir: "auto" });
      area.dataset.list = isList;
      const label = make("label", { htmlFor: area.id }, schema.title);
      const hint = isList ? " (one a line)" : isRequired || model.form.length === 1 ? "" : " (optional)";
      if (hint) label.append(make("span", { className: "hint", textContent: hint }));
      return make("div", { className: "field" }, label, area);
    });
    $("fields").replaceChildren(...fields);
    const examples = model.examples.map((example) => {
      const [first] = Object.values(example);
      const button = make("button", { type: "button", textContent: first, dir: "auto" });
      button.addEventListener("click", () => { fill(example); predict(); });
      return button;
    });
    $("explain").hidden = !model.explain;
    $("examples").replaceChildren(make("span", { className: "hint", textContent: "Examples:" }), ...examples);
    $("result").replaceChildren();
    $("raw").hidden = true;
    showError("");
    $("status").textContent = "Enter a text, or choose an example.";
  };

  $("form").addEventListener("submit", (event) => { event.preventDefault(); predict(); });
  $("explain").addEventListener("click", () => { if ($("form").reportValidity()) explain(); });
  $("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("predict").disabled) $("form").requestSubmit();
  });
  $("model").addEventListener("change", (event) => choose(event.target.value));

  fetch("models").then((response) => response.json()).then((answer) => {
    models = answer.models;
    $("model").append(...models.map(({ name, task }) => make("option", { value: name, textContent: `${name} (${task})` })));
    $("choose-model").hidden = models.length < 2;
    choose(models[0].name);
  }).catch(() => showError("The server does not answer."));
})();
