// Two pictures, large: side by side with one zoom for both, one over the other by a slider, their difference, or one after the other in the
// same place.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

/** A picture and what it is. */
export interface Pictured {
  name: string;
  src: string;
}

const MODES = ["side by side", "slider", "difference", "blink"] as const;
type Mode = (typeof MODES)[number];

/** How both pictures lie. */
interface Place {
  zoom: number;
  x: number;
  y: number;
}

const MOST_ZOOM = 32;
const BLINK_MS = 600;

/** The place after zooming by a factor at a point, which stays where it is. Points count from the middle of the picture, in pixels. */
export function zoomedAt({ zoom, x, y }: Place, factor: number, at: { x: number; y: number }): Place {
  const to = Math.min(MOST_ZOOM, Math.max(1, zoom * factor));
  const moved = (offset: number, point: number): number =>
    to === 1 ? 0 : point - ((point - offset) * to) / zoom;
  return { zoom: to, x: moved(x, at.x), y: moved(y, at.y) };
}

/** Shows two pictures, and below them what else there is to say, until it is closed. */
export function PairDialog({
  title,
  pictures,
  close,
  children,
}: {
  title: string;
  pictures: readonly [Pictured, Pictured];
  close: () => void;
  children?: ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [mode, setMode] = useState<Mode>("side by side");
  const [place, setPlace] = useState<Place>({ zoom: 1, x: 0, y: 0 });
  const [second, setSecond] = useState(false);
  const [share, setShare] = useState(50);
  useEffect(() => dialog.current?.showModal(), []);
  useEffect(() => {
    if (mode !== "blink") return;
    const timer = setInterval(() => setSecond((before) => !before), BLINK_MS);
    return () => clearInterval(timer);
  }, [mode]);
  const onKey = (event: KeyboardEvent): void => {
    const by = { "+": 1.5, "-": 1 / 1.5 }[event.key];
    if (by) setPlace((before) => zoomedAt(before, by, { x: 0, y: 0 }));
    else if (event.key === "0") setPlace({ zoom: 1, x: 0, y: 0 });
    else if (event.key === "m")
      setMode((before) => MODES[(MODES.indexOf(before) + 1) % MODES.length] as Mode);
    else return;
    event.preventDefault();
  };
  const onWheel = (event: WheelEvent): void => {
    event.preventDefault();
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const at = { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
    setPlace((before) => zoomedAt(before, 1.002 ** -event.deltaY, at));
  };
  const onMove = (event: PointerEvent): void => {
    if (event.buttons !== 1 || place.zoom === 1) return;
    setPlace(({ zoom, x, y }) => ({ zoom, x: x + event.movementX, y: y + event.movementY }));
  };
  const style = { transform: `translate(${place.x}px, ${place.y}px) scale(${place.zoom})` };
  const shown =
    mode === "side by side" ? pictures : mode === "blink" ? [pictures[second ? 1 : 0]] : undefined;
  const drag = { onWheel, onPointerMove: onMove };
  return (
    <dialog ref={dialog} class="pair-dialog" aria-label={title} onClose={close} onKeyDown={onKey}>
      <div class="bar">
        <h2>{title}</h2>
        {MODES.map((each) => (
          <button type="button" key={each} aria-pressed={each === mode} onClick={() => setMode(each)}>
            {each}
          </button>
        ))}
        <button type="button" onClick={() => setPlace({ zoom: 1, x: 0, y: 0 })}>
          {Math.round(place.zoom * 100)} %
        </button>
        <button type="button" onClick={close}>
          Close
        </button>
      </div>
      <div class={`panes ${mode === "side by side" ? "two" : ""}`}>
        {shown?.map(({ name, src }) => (
          <figure key={mode === "blink" ? "blink" : name}>
            <div class="pane" {...drag}>
              <img src={src} alt={name} style={style} draggable={false} />
            </div>
            <figcaption>{name}</figcaption>
          </figure>
        ))}
        {mode === "slider" && (
          <figure>
            <div class="pane over" {...drag}>
              <img src={pictures[0].src} alt={pictures[0].name} style={style} draggable={false} />
              <div class="upper" style={{ clipPath: `inset(0 0 0 ${share}%)` }}>
                <img src={pictures[1].src} alt={pictures[1].name} style={style} draggable={false} />
              </div>
            </div>
            <input
              type="range"
              min={0}
              max={100}
              value={share}
              aria-label={`${pictures[0].name} on the left, ${pictures[1].name} on the right`}
              onInput={(event) => setShare(Number(event.currentTarget.value))}
            />
            <figcaption>
              {pictures[0].name} on the left, {pictures[1].name} on the right
            </figcaption>
          </figure>
        )}
        {mode === "difference" && (
          <figure>
            <div class="pane difference" {...drag}>
              {pictures.map(({ name, src }) => (
                <img key={name} src={src} alt={name} style={style} draggable={false} />
              ))}
            </div>
            <figcaption>
              {pictures[0].name} minus {pictures[1].name}, four times as bright: black where they are alike
            </figcaption>
          </figure>
        )}
      </div>
      {children}
      <p class="dim">
        Wheel or <kbd>+</kbd> <kbd>-</kbd> zooms both, dragging moves both, <kbd>0</kbd> shows all,{" "}
        <kbd>m</kbd> changes the mode, <kbd>Esc</kbd> closes.
      </p>
    </dialog>
  );
}
