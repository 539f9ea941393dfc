/** What separates cells in files that are called CSV: a spreadsheet takes the semicolon where the comma is for decimals. */
const DELIMITERS = [",", ";", "\t"] as const;
export type Delimiter = (typeof DELIMITERS)[number];

export interface CsvRow {
  /** Where it begins, from 1. */
  line: number;
  cells: string[];
}

/**
 * Rows of a CSV text whose delimiter is the one under which the first row makes most sense: by `known`, how many of its cells are names of
 * columns, then by the number of cells. A first line `sep=;`, as spreadsheets write it, says it.
 *
 * Rows that are blank in every cell are left out. Throws an Error for a quote that never closes.
 */
export function readCsv(
  text: string,
  known: (names: readonly string[]) => number,
): { delimiter: Delimiter; rows: CsvRow[] } {
  const said = /^\ufeff?sep=(.)\r?\n?/i.exec(text);
  if (said && DELIMITERS.includes(said[1] as Delimiter)) {
    const rest = text.slice(said[0].length);
    const rows = [...parseCsv(rest, said[1] as Delimiter)].map((row) => ({ ...row, line: row.line + 1 }));
    return { delimiter: said[1] as Delimiter, rows: rows.filter(isFilled) };
  }
  const judged = DELIMITERS.map((delimiter) => {
    const cells = firstRow(text, delimiter);
    return { delimiter, names: known(cells), count: cells.length };
  }).sort((a, b) => b.names - a.names || b.count - a.count);
  const { delimiter } = judged[0] as { delimiter: Delimiter };
  return { delimiter, rows: parseCsv(text, delimiter).filter(isFilled) };
}

const isFilled = ({ cells }: CsvRow): boolean => cells.some((cell) => cell.trim() !== "");

function firstRow(text: string, delimiter: Delimiter): string[] {
  try {
    return parseCsv(text, delimiter, 1)[0]?.cells ?? [];
  } catch {
    return []; // told of by the reading of all rows
  }
}

/**
 * Cells of a CSV text, row by row. Source: RFC 4180; a line may end in LF or in CR alone, and spaces may stand before a quote.
 *
 * A quoted cell may hold delimiters, line ends and doubled quotes. most: rows. Throws an Error for a quote that never closes.
 */
export function parseCsv(
  text: string,
  delimiter: Delimiter = ",",
  most = Number.POSITIVE_INFINITY,
): CsvRow[] {
  const rows: CsvRow[] = [];
  let cells: string[] = [];
  let cell = "";
  let line = 1;
  let begun = 1;
  let isQuoted = false;
  const endCell = (): void => {
    cells.push(cell);
    cell = "";
  };
  const endRow = (): void => {
    endCell();
    if (cells.length > 1 || cells[0] !== "") rows.push({ line: begun, cells }); // an empty line is none
    cells = [];
    begun = line;
  };
  const start = text.startsWith("\ufeff") ? 1 : 0;
  for (let i = start; i < text.length && rows.length < most; i++) {
    const letter = text[i] as string;
    const isEnd = letter === "\n" || (letter === "\r" && text[i + 1] !== "\n");
    if (isEnd) line++;
    if (isQuoted) {
      if (letter !== '"') cell += letter;
      else if (text[i + 1] === '"') {
        cell += '"';
        i++;
      } else isQuoted = false;
    } else if (letter === '"' && /^ *$/.test(cell)) {
      cell = "";
      isQuoted = true;
    } else if (letter === delimiter) endCell();
    else if (isEnd) endRow();
    else if (letter !== "\r") cell += letter;
  }
  if (isQuoted) throw new Error(`the quote that opens in the row at line ${begun} never closes`);
  if (rows.length < most && (cell !== "" || cells.length > 0)) endRow();
  return rows;
}

/** One line of CSV, without its end. */
export const csvLine = (cells: readonly string[]): string =>
  cells
    .map((cell) => (/[",;\t\r\n]|^\ufeff|^ |^$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell))
    .join(",");
