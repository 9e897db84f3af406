/** What of Temml is used: LaTeX set as MathML into an element. */
export const temml: {
  render(text: string, place: HTMLElement, options: Object): void;
};
