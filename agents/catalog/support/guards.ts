// What a ticket shows before anybody tries to answer it: instructions to us, personal data, language, tone, questions.
// Owns: the patterns, all linear. Pure text in, small facts out. Never decides: policies look at the facts.
// Others may assume: nothing found here gives a ticket more rights; it can only send it to a person or have it refused.

export interface Guards {
  readonly injection: boolean;
  readonly personalData: boolean;
  /** Not English, or not enough of it to be sure. */
  readonly foreignLanguage: boolean;
  /** A lawyer, a regulator, the press, or somebody who asks for a person. */
  readonly wantsPerson: boolean;
  /** The questions and requests of the ticket, in order, greetings and complaints left out; at least one. */
  readonly questions: readonly string[];
}

export const TICKET_CHARS_MAX = 4_000;
const QUESTIONS_MAX = 6;

export function inspect(text: string): Guards {
  const plain = text.slice(0, TICKET_CHARS_MAX).replace(/[\p{Cf}]/gu, '').replace(/\s+/g, ' ').trim();
  return {
    injection: INJECTIONS.some((pattern) => pattern.test(plain)),
    personalData: hasPersonalData(plain),
    foreignLanguage: !looksEnglish(plain),
    wantsPerson: PERSON.some((pattern) => pattern.test(plain)),
    questions: questionsOf(plain),
  };
}

/** Sentences that address the machine or claim authority over it, instead of asking for help. */
const INJECTIONS: readonly RegExp[] = [
  /\b(?:ignore|disregard|forget|override|bypass)\b[^.!?]{0,40}\b(?:instruction|prompt|rules?|polic|guideline|limits?|above|previous|prior|everything|check|approval|verification)/i,
  /\b(?:system|developer|admin(?:istrator)?|root|debug|maintenance|god|jailbreak)[ _-]?(?:prompt|mode|message|instruction|override|notice|command)\b|\bpolicy override\b/i,
  /\b(?:you are|you're|act|behave|pretend|respond|answer|roleplay)\b[^.!?]{0,24}\b(?:now (?:a|an|the|in|my)\b|as (?:a|an|the|if)\b|no longer|unrestricted)|\byou are dan\b/i,
  /\b(?:new|updated|special|hidden|secret|following) (?:instruction|directive|guideline|task)s?\b|\b(?:following|under) this (?:rule|instruction)|\brules? (?:inserted|added|changed|set) by\b/i,
  /<{1,2}\/?(?:system|assistant|user|instruction|tool|prompt|admin)[^>]{0,40}>|\[{1,2}\/?(?:system|inst|assistant|admin|tool)[^\]]{0,40}\]|^\s*(?:system|assistant)\s*:|###\s*(?:system|instruction)/i,
  /\b(?:begin|end|start)[ _-]?(?:of[ _-])?(?:system|instruction|prompt|transcript|override|ticket|message)\b/i,
  /\{\s*"?(?:effect|tool|action|function|role|decision|approved|command)"?\s*:/i,
  /\b(?:set|mark|flag|treat|classify|label|score)\b[^.!?]{0,40}\b(?:confidence|approved|groundedness|verified|authori[sz]ed|as (?:paid|resolved|trusted|today|low[- ]risk|coming from))/i,
  /\b(?:reveal|print|show|list|output|repeat|dump|export|append|send|tell|give)\b[^.!?]{0,60}\b(?:(?:system|initial|hidden) prompt|your (?:prompt|instructions|rules|configuration|tools)|(?:all|other|another|every|any|someone else'?s|different) (?:customer|user|client|tenant)s?(?:'s?)?\b|(?:account|customer) c-\d|secrets|environment variables|system of record|database)/i,
  /\b(?:without (?:human |any )?(?:approval|review|verification)|no (?:approval|review|human) (?:is )?(?:needed|required)|(?:do not|don'?t|never) (?:escalate|involve|ask (?:a|any) (?:human|person|colleague)|tell (?:the|my) (?:owner|customer)))/i,
  /\b(?:i am|i'm|this is|speaking as|on behalf of|as) (?:your|the) (?:developer|creator|engineer|supervisor|operator|(?:system )?admin(?:istrator)?)\b/i,
  /\b(?:pre-?approved|already (?:been )?(?:approved|authori[sz]ed)|has been approved by|authori[sz]ation code|override code|(?:policy|limit|rule) (?:no longer applies|is suspended|does not apply|was lifted)|comply with this)/i,
  /\b(?:execute|run|call|invoke|trigger)\b[^.!?]{0,24}\b(?:function|tool|command|refund\(|sql|script|workflow|it\b)[^?]*$|\bselect\b[^.!?]{1,60}\bfrom\b[^?]{0,60}(?:`|;|$)|\bdrop table\b/i,
  /\b(?:for|to|dear|hey|hello|note for|attention) (?:the |you,? )?(?:automated (?:system|assistant)|ai\b|bot\b|chat ?bot|assistant\b|language model|llm|machine reading)|\b(?:as an ai|language model|llm|let's play a game)\b/i,
  /\b(?:from now on|henceforth)\b[^.!?]{0,30}\b(?:answer|reply|respond|say|write|you)\b|\b(?:in|to) your (?:reply|answer|response),? (?:tell|include|add|say|write|append)|\b(?:word for word|everything above|reply only with|answer only with|base64)\b/i,
];

/** Wishes that a person has to hear, whatever the help centre says. */
const PERSON: readonly RegExp[] = [
  /\b(?:lawyers?|attorney|solicitors?|legal action|lawsuit|sue you|suing|(?:to|in|take you to) court|small claims|ombudsman|regulators?|consumer protection|consumer contracts|journalist|trading standards|better business bureau|instructed counsel|formal complaint|breach of contract|compensation)\b/i,
  /\b(?:want|need|let me|demand|insist|please|put me|connect me|hand me)\b[^.!?]{0,20}\b(?:speak|talk|through|connect|escalate|over)\b[^.!?]{0,20}\b(?:human|real person|a person|someone|somebody|manager|supervisor|representative|agent)\b/i,
  /\b(?:(?:please )?(?:call|phone|ring) me (?:back|today|now|on|at|please)|give me a call)\b/i,
];

const CARD = /\b\d(?:[ -]?\d){12,18}\b/g;
const IBAN = /\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b/gi;
const NUMBERED: readonly RegExp[] = [
  /\b\d{3}-\d{2}-\d{4}\b/,
  /\b(?:passport|driver'?s? licen[cs]e|identity card|id card|national insurance|social security|ssn|nino|insurance number)\b[^!?\n]{0,30}?\b(?=[A-Z0-9-]{0,14}\d)[A-Z0-9][A-Z0-9-]{5,}/i,
  /\b(?:date of birth|dob|born(?: on)?)\b[^.!?\n]{0,20}\d/i,
  /\bdiagnos(?:is|ed)\b|\bmedical (?:record|history|condition)\b/i,
  /\b(?:password|passcode|pin|cvv|cvc|security code|recovery code)s?\b(?: (?:is|was|=|:)|:| )\s*["']?(?=\S*\d)\S{3,}/i,
  /\bexp(?:iry|ires)?\.? \d{2}\/\d{2}\b/i,
];

export function hasPersonalData(text: string): boolean {
  return NUMBERED.some((pattern) => pattern.test(text)) || [...text.matchAll(CARD)].some(([found]) => luhn(found)) || [...text.matchAll(IBAN)].some(([found]) => mod97(found));
}

/** ISO/IEC 7812-1, annex B. */
function luhn(text: string): boolean {
  const digits = text.replace(/\D/g, '');
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits[digits.length - 1 - i]);
    sum += i % 2 === 0 ? digit : digit * 2 > 9 ? digit * 2 - 9 : digit * 2;
  }
  return digits.length >= 13 && sum % 10 === 0;
}

/** ISO 13616. */
function mod97(text: string): boolean {
  const bare = text.replaceAll(' ', '').toUpperCase();
  if (bare.length < 15 || bare.length > 34) return false;
  let rest = 0;
  for (const letter of bare.slice(4) + bare.slice(0, 4)) {
    const value = letter >= 'A' ? letter.charCodeAt(0) - 55 : Number(letter);
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest === 1;
}

const words = (list: string): ReadonlySet<string> => new Set(list.split(' '));
const ENGLISH = words('the a an and or but is are was were be been have has had do does did can could will would should i we you my our your it its this that these to of in on for with from at by as if not no how what when where which who why there they their me us so after before about into than then only just any all get got need want please help cannot new address billing invoice account plan refund cancel payment card email change update hi hello thanks');
const OTHERS: readonly ReadonlySet<string>[] = [
  words('der die das und ist nicht ich wir sie ein eine einen mit für auf von zu wie kann können möchte bitte meine mein unsere haben wird dem den des auch noch wenn oder aber rechnung konto'),
  words('le la les un une des et est pas je nous vous mon ma mes notre votre pour avec dans sur que qui comment puis peut voudrais bonjour merci compte facture ne du au aux ce cette'),
  words('el los las un una y es no yo nosotros usted mi mis nuestro para con en que como puedo quiero hola gracias cuenta factura por del al se esta este cómo'),
  words('il lo gli una e non io noi mio mia nostro per con che come posso vorrei ciao buongiorno grazie conto fattura del della di sono questo questa'),
  words('o os as um uma e não eu nós meu minha nosso para com que como posso quero olá obrigado conta fatura do da em por esta este'),
  words('de het een en is niet ik wij mijn onze voor met in op van te hoe kan graag hallo bedankt rekening factuur dat die dit ook nog als maar'),
  words('jak nie jest się na do i w z czy mogę proszę konto faktura moje mam dla od to po za'),
];

/** Latin script and more English function words than those of any other language we know. */
export function looksEnglish(text: string): boolean {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  const latin = text.match(/\p{Script=Latin}/gu)?.length ?? 0;
  if (letters === 0) return false;
  if (latin / letters < 0.85) return false;
  const tokens = text.toLowerCase().match(/[\p{L}']+/gu) ?? [];
  const share = (list: ReadonlySet<string>): number => tokens.filter((token) => list.has(token)).length;
  const english = share(ENGLISH);
  return OTHERS.every((list) => share(list) <= english) && (english > 0 || tokens.length <= 4);
}

const PLEASANTRY = /^(?:hi|hello|hey|dear|good (?:morning|afternoon|evening)|greetings|thanks|thank you|cheers|many thanks|regards|kind regards|best|best regards|sincerely|yours|bye|hope (?:you|this)|have a|appreciate|i appreciate|ta)\b[^?]*$/i;
/** A second request inside one sentence: `…, and why did it …`, `… and also can you …`. */
const SECOND = /,? (?:and|also|plus)(?: also| then)? (?=(?:how|what|why|when|where|which|who|can|could|would|will|do|does|did|is|are|has|have|was) (?:i|we|you|it|he|she|they|the|there|that|this|my|our|your|mine|much|many|long|close|do|does|did|is|are|has|have|would|will|can)\b)/i;

/** The sentences that ask, taken apart where one sentence asks twice; when none does, the whole text is one question. */
export function questionsOf(text: string): string[] {
  const sentences = text.split(/(?<=[.!?])\s+|\n+/).map((sentence) => sentence.trim()).filter((sentence) => sentence.length > 2 && !(sentence.length < 60 && PLEASANTRY.test(sentence)));
  const asked = sentences.filter((sentence) => sentence.endsWith('?')).flatMap((sentence) => sentence.split(SECOND)).filter((part) => part.split(' ').length > 2);
  if (asked.length > 1) return asked.slice(0, QUESTIONS_MAX);
  const halves = sentences.join(' ').split(SECOND).filter((part) => part.split(' ').length > 2);
  return halves.length > 1 ? halves.slice(0, QUESTIONS_MAX) : [sentences.length === 0 ? text : sentences.join(' ')];
}
