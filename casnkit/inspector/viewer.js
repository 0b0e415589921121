// The picture of a pair, drawn from data: see payload.py for what a view is. No dependency, no build step.
const SECTIONS = ["state", "controls", "strip", "pair", "compare", "failures", "what_if", "notes", "busy", "error"];

export function mount(el, view, host) {
  const root = document.createElement("div");
  root.className = "casnkit";
  el.append(root);
  const draw = () => { root.textContent = JSON.stringify(view.state ?? {}); };
  draw();
  return {
    update(section, value) { view[section] = value; draw(); },
    destroy() { root.remove(); },
  };
}

export default {
  render({ model, el }) {
    const view = Object.fromEntries(SECTIONS.map((name) => [name, model.get(name) ?? {}]));
    const viewer = mount(el, view, { ask: (message) => model.send(message) });
    const heard = SECTIONS.map((name) => [`change:${name}`, () => viewer.update(name, model.get(name) ?? {})]);
    heard.forEach(([event, answer]) => model.on(event, answer));
    return () => { heard.forEach(([event, answer]) => model.off(event, answer)); viewer.destroy(); };
  },
};
