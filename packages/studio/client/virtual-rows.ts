// Of thousands of rows those in sight are drawn.
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "@tanstack/virtual-core";
import type { RefObject } from "preact";
import { useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";

/** The rows to draw, and the pixels above and below them that are not drawn; `frame` is what scrolls. */
export function useVirtualRows(
  count: number,
  height: number,
): { frame: RefObject<HTMLElement | null>; places: number[]; above: number; below: number } {
  const frame = useRef<HTMLElement>(null);
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  const [rows] = useState(
    () =>
      new Virtualizer<HTMLElement, Element>({
        count: 0,
        getScrollElement: () => frame.current,
        estimateSize: () => height,
        overscan: 10,
        scrollToFn: elementScroll,
        observeElementRect,
        observeElementOffset,
        onChange: redraw as () => void,
      }),
  );
  rows.setOptions({ ...rows.options, count });
  useLayoutEffect(() => rows._didMount(), [rows]);
  useLayoutEffect(() => rows._willUpdate());
  const items = rows.getVirtualItems();
  return {
    frame,
    places: items.map(({ index }) => index),
    above: items[0]?.start ?? 0,
    below: rows.getTotalSize() - (items.at(-1)?.end ?? 0),
  };
}
