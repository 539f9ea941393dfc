/**
 * Cells of a CSV text, row by row, each with the line where it begins (from 1). Source: RFC 4180; a line may end in LF alone.
 *
 * A quoted cell may hold commas, line ends and doubled quotes. Throws an Error for a quote that never closes.
 */
export function parseCsv(text: string): { line: number; cells: string[] }[] {
  const rows: { line: number; cells: string[] }[] = [];
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
  for (let i = start; i < text.length; i++) {
    const letter = text[i] as string;
    if (letter === "\n") line++;
    if (isQuoted) {
      if (letter !== '"') cell += letter;
      else if (text[i + 1] === '"') {
        cell += '"';
        i++;
      } else isQuoted = false;
    } else if (letter === '"' && cell === "") isQuoted = true;
    else if (letter === ",") endCell();
    else if (letter === "\n") endRow();
    else if (letter !== "\r" || text[i + 1] !== "\n") cell += letter;
  }
  if (isQuoted) throw new Error(`the quote that opens in the row at line ${begun} never closes`);
  if (cell !== "" || cells.length > 0) endRow();
  return rows;
}

/** One line of CSV, without its end. */
export const csvLine = (cells: readonly string[]): string =>
  cells
    .map((cell) => (/[",\r\n]|^\ufeff|^$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell))
    .join(",");
