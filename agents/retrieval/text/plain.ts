// The one place that decides which form a document is written in, and turns it into the plain form.
// Owns: the choice by file ending, then by the first characters. Never guesses beyond these two.
// Others may assume: the result holds no HTML tags, no link targets and no control characters.

import { plainHtml } from './html.ts';
import type { PlainText } from './markdown.ts';
import { plainMarkdown } from './markdown.ts';

export type { PlainText } from './markdown.ts';

/** `name` is a path or id; its ending names the form. Text without an ending is read as Markdown, which plain text is too. */
export function plainText(name: string, raw: string): PlainText {
  const source = withoutControls(raw);
  if (/\.html?$/i.test(name) || /^\s*(?:<!doctype html|<html[\s>])/i.test(source)) return plainHtml(source);
  if (/\.txt$/i.test(name)) return { text: source.replaceAll('\r\n', '\n').replace(/\n{3,}/g, '\n\n').trim(), title: undefined };
  return plainMarkdown(source);
}

/** Keeps tab, line feed and carriage return; lone surrogates become the replacement character. */
// oxlint-disable-next-line no-control-regex -- control characters are what this removes
const withoutControls = (text: string): string => text.toWellFormed().replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u2028\u2029]/g, '').normalize('NFC');
