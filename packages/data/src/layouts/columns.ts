// Finds the meaning of a preference set's columns. The only place that knows the names in use.
import { scorerOfGap } from "./gap-columns.js";

/** The column of each image, of which one may be missing. */
type Two = readonly [string | undefined, string | undefined];

/** Where a row's two images stand, or its list of images. */
export type ImageColumns =
  | {
      kind: "sides";
      names: readonly [string, string];
      /** How the two are called: `0` and `1`, `left` and `right`, `chosen` and `rejected`, … */
      markers: readonly [string, string];
      /** The names are identifiers: of files without their ending, perhaps. */
      areIds: boolean;
    }
  | { kind: "list"; name: string };

/** What says which image is preferred. A row takes the first of these that has something in it. */
export type PreferenceColumns =
  /** Shares of the two images that sum to 1; one of them may be missing. */
  | { kind: "labels"; names: Two }
  /** Both shares in one cell. */
  | { kind: "label list"; name: string }
  /** How many people took each. */
  | { kind: "votes"; names: readonly [string, string] }
  | { kind: "vote list"; name: string }
  /** One number an image, smaller is better, equal ones tie. */
  | { kind: "ranking"; name: string }
  /** The better one by name or number; a list of those is a list of votes. `status`: which of the list were handed in. */
  | { kind: "winner"; name: string; status?: string }
  /** The better image stands first. */
  | { kind: "order" };

/** The columns of a set by what they say. Of prompts, images and preferences there may be several: a row takes the first that it has. */
export interface Columns {
  prompts: readonly string[];
  images: readonly ImageColumns[];
  preferences: readonly PreferenceColumns[];
  labelled?: string;
  different?: string;
  examples?: string;
  split?: string;
  kind?: string;
  models?: Two | string;
  seeds?: Two;
  /** Who a row's vote is of. */
  annotator?: string;
  /** What a row's vote weighs. */
  trust?: string;
  /** Rows with the same are about the same pair. */
  pair?: string;
  /** Score gaps of pairs, by scorer. */
  gaps: readonly string[];
  /** Other names of the two images, by which a `winner` may call them. */
  aliases: readonly (readonly [string, string])[];
}

/** How two images that are equal in rights are told apart. */
const EQUALS = [
  ["0", "1"],
  ["1", "2"],
  ["a", "b"],
  ["left", "right"],
  ["first", "second"],
  ["one", "two"],
  ["l", "r"],
] as const;

/** How the better one and the other are called. Kohya's folders and files use the same words. */
export const PREFERRED = [
  ["chosen", "rejected"],
  ["win", "lose"],
  ["winner", "loser"],
  ["won", "lost"],
  ["winning", "losing"],
  ["wins", "losses"],
  ["preferred", "dispreferred"],
  ["preferred", "nonpreferred"],
  ["preferred", "unpreferred"],
  ["preferred", "rejected"],
  ["accepted", "rejected"],
  ["better", "worse"],
  ["best", "worst"],
  ["good", "bad"],
  ["positive", "negative"],
  ["pos", "neg"],
  ["w", "l"],
] as const;

const MARKERS = new Set<string>([...EQUALS, ...PREFERRED].flat());

/** Words that a column of an image may have besides its side. */
const IMAGE_WORDS = new Set(
  "image images img imgs jpg jpeg png webp picture pic photo bytes data generated".split(" "),
);
const PATH_WORDS = new Set("path paths file files filename filepath name local".split(" "));
const ID_WORDS = new Set(["id", "uid", "uuid", "hash"]);

/** Words of the columns that there are one an image, besides `image` and the side. */
const SIDE_KINDS = {
  label: new Set(["label", "labels", "soft", "target", "prob", "probability", "share"]),
  votes: new Set(
    "vote votes count counts num number n wins results result weighted preference preferences".split(" "),
  ),
  model: new Set(["model", "models", "generator", "name", "checkpoint"]),
  seed: new Set(["seed", "seeds", "noise"]),
} as const;

/** Of which at least one must be there: `num_image_0` says nothing of votes. */
const SIDE_ROOTS: Record<keyof typeof SIDE_KINDS, readonly string[]> = {
  label: ["label", "labels", "target", "prob", "probability", "share"],
  votes: ["vote", "votes", "wins", "results", "result", "count", "counts"],
  model: ["model", "models", "generator", "checkpoint"],
  seed: ["seed", "seeds"],
};

/** Columns that stand alone, by what they say; in lower case without marks: `Has-Label` is `haslabel`. */
const SINGLE = {
  prompt:
    "prompt caption text prompts captions prompttext textprompt captiontext userprompt inputprompt description instruction",
  labelled: "haslabel haslabels labelled labeled islabelled islabeled",
  different: "aredifferent isdifferent different",
  examples: "numexampleperprompt numexamplesperprompt",
  split: "split",
  kind: "kind",
  images:
    "images imagepath imagepaths filepath filepaths generations files paths imagelist imagefiles filenames filename",
  "label list": "labels humanpreference humanpreferences softlabels",
  "vote list": "choicedist choicedistribution votes votecounts votedist votedistribution",
  ranking: "ranking rank ranks rankings",
  winner:
    "winner preferenceresponses preferenceresponse preference pref preferred choice chosen selected vote answer better best winnerimage " +
    "imagewinner preferredimage betterimage bestimage selectedimage chosenimage bestimageuid bestimageid winnerid winnermodel winningimage " +
    "winningmodel votetype verdict result response responses humanchoice humanpreferencechoice annotation annotations preferencelabel label",
  status: "preferenceresponsesstatus preferenceresponsestatus responsesstatus responsestatus",
  models: "models modelnames",
  annotator:
    "annotatorid annotator annotatoruid userid user useruid workerid worker raterid rater labeller labeler labellerid labelerid judge " +
    "judgeid voterid voter participant participantid respondentid",
  trust:
    "trust trustscore annotatortrust annotatortrustscore usertrust usertrustscore userscore annotatorscore workertrust trustlevel " +
    "reliability voteweight weight",
  pair: "pairid comparisonid matchupid matchid battleid",
} as const;
type Single = keyof typeof SINGLE;
const SINGLE_NAMES = new Map<string, { means: Single; place: number }[]>();
for (const means of Object.keys(SINGLE) as Single[]) {
  for (const [place, name] of SINGLE[means].split(" ").entries())
    SINGLE_NAMES.set(name, [...(SINGLE_NAMES.get(name) ?? []), { means, place }]);
}

/** Glued words and marks: `imagea`, `leftvote`. */
const GLUED =
  /^(image|img|jpg|jpeg|path|file|label|model|votes?|seed|pic)(a|b|l|r|w|left|right|first|second|chosen|rejected|win|lose)$/;

/** A name's words in lower case: `Image_0`, `imageA`, `votes_image1`. Numbers are words of their own. */
export const wordsOf = (name: string): string[] =>
  (name.match(/[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+/g) ?? []).flatMap((word) => {
    const lower = word.toLowerCase();
    const glued = GLUED.exec(lower);
    return glued ? [glued[1] as string, glued[2] as string] : [lower];
  });

interface SideColumn {
  name: string;
  marker: string;
  /** The other words. */
  words: string[];
}

/** What the columns of these names say. Names that mean nothing here are passed over. */
export function resolveColumns(names: readonly string[]): Columns {
  const single = new Map<Single, { name: string; place: number }[]>();
  const sides: SideColumn[] = [];
  const gaps = names.filter((name) => scorerOfGap(name) !== undefined);
  for (const name of names) {
    if (gaps.includes(name)) continue; // a scorer may be called as a column is
    if (/\.(png|jpe?g|webp)$/i.test(name)) continue; // an image where a column's name should be
    const words = wordsOf(name);
    for (const { means, place } of SINGLE_NAMES.get(words.join("")) ?? [])
      single.set(means, [...(single.get(means) ?? []), { name, place }]);
    for (const marker of new Set(words.filter((word) => MARKERS.has(word)))) {
      const at = words.lastIndexOf(marker);
      sides.push({ name, marker, words: words.filter((_, i) => i !== at) });
    }
  }
  const all = (means: Single): string[] =>
    (single.get(means) ?? []).sort((a, b) => a.place - b.place).map(({ name }) => name);
  const one = (means: Single): string | undefined => all(means)[0];

  const twos = imagePairs(sides);
  const lists = all("images").map((name): ImageColumns => ({ kind: "list", name }));
  const markers = twos[0]?.kind === "sides" ? twos[0].markers : undefined;
  const perSide = (kind: keyof typeof SIDE_KINDS): Two | undefined => sidesOf(sides, kind, markers);
  const taken = new Set(twos.flatMap((two) => (two.kind === "sides" ? two.names : [])));
  return {
    prompts: all("prompt"),
    images: [...twos, ...lists],
    preferences: preferencesOf({ twos, lists, markers, perSide, one, all, taken }),
    labelled: one("labelled"),
    different: one("different"),
    examples: one("examples"),
    split: one("split"),
    kind: one("kind"),
    models: perSide("model") ?? one("models"),
    seeds: perSide("seed"),
    annotator: one("annotator"),
    trust: one("trust"),
    pair: one("pair"),
    gaps,
    aliases: twos.flatMap((two) => (two.kind === "sides" ? [two.names] : [])),
  };
}

/** Each two columns that hold the two images; those with the images themselves before paths, and these before identifiers. */
function imagePairs(sides: readonly SideColumn[]): ImageColumns[] {
  const isLong = (marker: string): boolean => marker.length > 2 && !/^(one|two)$/.test(marker);
  const found: { columns: ImageColumns & { kind: "sides" }; order: number }[] = [];
  for (const [place, [first, second]] of [...EQUALS, ...PREFERRED].entries()) {
    for (const a of sides) {
      if (a.marker !== first) continue;
      const known = a.words.every(
        (word) => IMAGE_WORDS.has(word) || PATH_WORDS.has(word) || ID_WORDS.has(word),
      );
      if (!known || (a.words.length === 0 && !isLong(first))) continue;
      const b = sides.find(({ marker, words }) => marker === second && words.join() === a.words.join());
      if (!b || b.name === a.name) continue;
      const areIds = a.words.some((word) => ID_WORDS.has(word));
      const isPath = a.words.some((word) => PATH_WORDS.has(word));
      found.push({
        columns: { kind: "sides", names: [a.name, b.name], markers: [first, second], areIds },
        order: (areIds ? 200 : isPath ? 100 : 0) + place,
      });
    }
  }
  return found.sort((a, b) => a.order - b.order).map(({ columns }) => columns);
}

/** The columns of a kind that there is one an image of, with the images' own markers if there are such. */
function sidesOf(
  sides: readonly SideColumn[],
  kind: keyof typeof SIDE_KINDS,
  wanted: readonly [string, string] | undefined,
): Two | undefined {
  const of = sides.filter(
    ({ words }) =>
      words.some((word) => SIDE_ROOTS[kind].includes(word)) &&
      words.every((word) => SIDE_KINDS[kind].has(word) || IMAGE_WORDS.has(word)),
  );
  const order = wanted ? [wanted, ...EQUALS] : EQUALS;
  for (const [first, second] of order) {
    for (const a of of) {
      if (a.marker !== first) continue;
      const b = of.find(({ marker, words }) => marker === second && words.join() === a.words.join());
      if (b && b.name !== a.name) return [a.name, b.name];
    }
  }
  const [first, second] = wanted ?? EQUALS[0];
  const lone = (side: string): string | undefined => of.find(({ marker }) => marker === side)?.name;
  const found: Two = [lone(first), lone(second)];
  return found.some((name) => name !== undefined) ? found : undefined;
}

function preferencesOf({
  twos,
  lists,
  markers,
  perSide,
  one,
  all,
  taken,
}: {
  twos: readonly ImageColumns[];
  lists: readonly ImageColumns[];
  markers: readonly [string, string] | undefined;
  perSide: (kind: keyof typeof SIDE_KINDS) => Two | undefined;
  one: (means: Single) => string | undefined;
  all: (means: Single) => string[];
  taken: ReadonlySet<string>;
}): PreferenceColumns[] {
  const isPreferred = PREFERRED.some(([a, b]) => a === markers?.[0] && b === markers[1]);
  if (isPreferred) return [{ kind: "order" }];
  const found: PreferenceColumns[] = [];
  const labels = perSide("label");
  if (labels && !labels.some((name) => name !== undefined && taken.has(name)))
    found.push({ kind: "labels", names: labels });
  const labelList = one("label list");
  if (labelList !== undefined) found.push({ kind: "label list", name: labelList });
  const [votes0, votes1] = perSide("votes") ?? [];
  if (votes0 !== undefined && votes1 !== undefined) found.push({ kind: "votes", names: [votes0, votes1] });
  const voteList = one("vote list");
  if (voteList !== undefined) found.push({ kind: "vote list", name: voteList });
  const ranking = one("ranking");
  if (ranking !== undefined) found.push({ kind: "ranking", name: ranking });
  for (const name of all("winner")) {
    if (name === labelList || name === voteList || taken.has(name)) continue;
    found.push({ kind: "winner", name, status: one("status") });
  }
  const [list] = lists;
  if (list?.kind === "list" && wordsOf(list.name).join("") === "images") found.push({ kind: "order" });
  // HPDv3's `path1` is the preferred one.
  const isPath1 = twos.some(
    (two) => two.kind === "sides" && wordsOf(two.names[0]).join("") === "path1" && two.markers[0] === "1",
  );
  if (isPath1) found.push({ kind: "order" });
  return found;
}

/** What columns say nothing of a row's prompt, images or preference, in words, with the names that were looked for. */
export function missingColumns({ prompts, images, preferences, labelled }: Columns): string[] {
  const missing: string[] = [];
  if (prompts.length === 0) missing.push("no prompt (prompt, caption or text)");
  if (images.length === 0) {
    missing.push(
      "no two images (image_0 and image_1, jpg_0 and jpg_1, image_1 and image_2, image_a and image_b, left_image and right_image, " +
        "path1 and path2, chosen and rejected, or a list: images)",
    );
  }
  if (preferences.length === 0 && labelled === undefined) {
    missing.push(
      "no preference (label_0, labels, votes_1 and votes_2, choice_dist, ranking, winner or preference)",
    );
  }
  return missing;
}
