/** The report's whole look. No script: switching, flickering and the blind test are done by radio buttons. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #faf9f6; --card: #ffffff; --ink: #1c1b18; --soft: #5f5c54; --line: #e3dfd5; --grid: #ece9e1;
  --base: #8b8576; --spo: #0b7a75; --third: #b4541a; --fourth: #5b5bd6; --fifth: #b13a83; --win: #1a7f4b; --lose: #b3372f; --wash: #e3f1ef; --edge: rgb(40 35 20 / .28);
  --shadow: 0 1px 2px rgb(40 35 20 / .05), 0 4px 16px rgb(40 35 20 / .05);
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #131419; --card: #1b1d24; --ink: #ecebe6; --soft: #a5a197; --line: #2f323b; --grid: #272a32;
    --base: #938e82; --spo: #3fc1b5; --third: #e59a60; --fourth: #9a9bf0; --fifth: #e58cc0; --win: #4cc38a; --lose: #f08379; --wash: #15302f; --edge: rgb(0 0 0 / .8);
    --shadow: none;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1120px; margin: 0 auto; padding: 48px 24px 96px; }
h1 { font-size: clamp(1.9rem, 4.5vw, 2.9rem); line-height: 1.1; letter-spacing: -.025em; margin: 0 0 12px; text-wrap: balance; }
h2 { font-size: 1.4rem; letter-spacing: -.015em; margin: 72px 0 6px; }
h3 { font-size: 1rem; margin: 0 0 4px; }
p { margin: 0 0 12px; }
.verdict { font-size: 1.3rem; line-height: 1.35; max-width: 40em; margin-bottom: 10px; text-wrap: pretty; }
.lead { font-size: 1.1rem; color: var(--soft); max-width: 46em; margin-bottom: 32px; }
.about { color: var(--soft); max-width: 46em; margin-bottom: 20px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 14px; box-shadow: var(--shadow); }
figure { margin: 0; }
:focus-visible { outline: 2px solid var(--spo); outline-offset: 2px; border-radius: 4px; }

.figures .big { font-size: 1.7rem; }
.headlines { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 16px; margin: 0; padding: 0; list-style: none; }
.headlines li { padding: 20px 22px 18px; }
.big { font-size: 2.4rem; font-weight: 650; letter-spacing: -.035em; line-height: 1.1; }
.big .from { color: var(--soft); font-weight: 450; white-space: nowrap; }
.headlines .what { margin: 6px 0 10px; line-height: 1.4; }
.headlines .range { display: block; color: var(--soft); font-size: .875rem; margin-top: 8px; }
.chip { display: inline-block; font-size: .8rem; font-weight: 600; padding: 1px 9px; border-radius: 99px; border: 1px solid currentColor; white-space: nowrap; }
.chip.better { color: var(--win); } .chip.worse { color: var(--lose); } .chip.unclear { color: var(--soft); }
.notes { margin: 24px 0 0; padding: 14px 20px 14px 38px; color: var(--soft); }

.extreme { padding: 14px 18px 10px; margin-bottom: 16px; }
.extreme table { width: auto; } .extreme th, .extreme td { border: 0; padding: 4px 6px; text-align: center; vertical-align: middle; }
.extreme tbody th { min-width: 56px; text-align: left; color: var(--tone); } .extreme thead th { max-width: 132px; white-space: normal; font-size: .88rem; }
.extreme img { display: block; width: 128px; min-width: 96px; aspect-ratio: 1; object-fit: contain; border-radius: 8px; background: #fff; box-shadow: 0 0 0 1px var(--line); }

.views { display: flex; flex-wrap: wrap; gap: 4px; padding: 4px; width: fit-content; margin-bottom: 18px; position: sticky; top: 10px; z-index: 2; }
.views label { padding: 5px 14px; border-radius: 10px; cursor: pointer; font-size: .92rem; }
.views input { position: absolute; opacity: 0; pointer-events: none; }
.views label:has(:checked) { background: var(--spo); color: var(--card); font-weight: 600; }
.views label:has(:focus-visible) { outline: 2px solid var(--spo); outline-offset: 2px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(248px, 1fr)); gap: 16px; }
.pair { padding: 10px 10px 8px; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
.side img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 8px; background: #fff; box-shadow: 0 0 0 1px var(--line); }
.side span { display: block; text-align: center; font-size: .76rem; font-weight: 600; line-height: 1.4; padding-top: 4px; color: var(--soft); }
.side.spo span { color: var(--spo); }
.pair figcaption { display: flex; justify-content: space-between; gap: 8px; font-size: .88rem; font-weight: 600; padding-top: 6px; margin-top: 6px; border-top: 1px solid var(--grid); }
.pair figcaption span { font-weight: 400; color: var(--soft); white-space: nowrap; }
#pictures:has([value=base]:checked) .gallery, #pictures:has([value=spo]:checked) .gallery, #pictures:has([value=flicker]:checked) .gallery { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); }
#pictures:has([value=base]:checked) .sides, #pictures:has([value=spo]:checked) .sides, #pictures:has([value=flicker]:checked) .sides { grid-template-columns: 1fr; }
#pictures:has([value=base]:checked) .side.spo, #pictures:has([value=spo]:checked) .side.base { display: none; }
#pictures:has([value=flicker]:checked) .side { grid-area: 1 / 1; background: var(--card); }
#pictures:has([value=flicker]:checked) .side.spo { animation: flicker 2s step-end infinite; }
@keyframes flicker { 0% { opacity: 1; } 50% { opacity: 0; } }
@media (prefers-reduced-motion: reduce) {
  #pictures:has([value=flicker]:checked) .side.spo { animation: none; }
  #pictures:has([value=flicker]:checked) .pair:hover .side.spo { opacity: 0; }
}
#pictures:has([value=blind]:checked) .swap .side.spo { order: -1; }
#pictures:has([value=blind]:checked) .pair:not(:hover):not(:focus-visible) .side span { visibility: hidden; }
.hint { display: none; font-size: .9rem; color: var(--soft); }
#pictures:has([value=blind]:checked) .hint.blind, #pictures:has([value=flicker]:checked) .hint.flicker { display: block; }

/* What is wider than its card shows a shadow at the side to which it goes on: covers move with the table, shadows stay. */
.scroll {
  overflow-x: auto; scrollbar-width: thin;
  background:
    linear-gradient(to right, var(--card) 40%, transparent) left / 40px 100% no-repeat local,
    linear-gradient(to left, var(--card) 40%, transparent) right / 40px 100% no-repeat local,
    linear-gradient(to right, var(--edge), transparent) left / 16px 100% no-repeat scroll,
    linear-gradient(to left, var(--edge), transparent) right / 16px 100% no-repeat scroll, var(--card);
}
table { border-collapse: collapse; width: 100%; font-size: .94rem; }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding: 0 0 10px; }
th, td { text-align: right; padding: 10px 14px; border-top: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
thead th { border-top: 0; font-size: .82rem; color: var(--soft); font-weight: 600; vertical-align: bottom; }
th:first-child { text-align: left; }
tbody th { font-weight: 600; white-space: normal; min-width: 200px; }
tbody th small, td small { display: block; font-weight: 400; color: var(--soft); font-size: .84rem; line-height: 1.4; }
.control { color: var(--soft); background: color-mix(in srgb, var(--grid) 45%, transparent); }
.panel { padding: 8px 8px 4px; }

.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px; }
.chart { padding: 18px 20px 12px; }
.chart figcaption { color: var(--soft); font-size: .9rem; margin-bottom: 8px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: .84rem; margin: 0 0 6px; padding: 0; list-style: none; }
.legend li::before { content: ""; display: inline-block; width: 14px; height: 3px; border-radius: 2px; margin-right: 6px; vertical-align: middle; background: var(--tone); }
.legend li.dashed::before { height: 0; border-radius: 0; border-top: 2px dashed var(--soft); background: none; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
@media (max-width: 600px) { svg text { font-size: 16px; } th, td { padding: 8px 9px; } tbody th { min-width: 140px; } }
svg .grid { stroke: var(--grid); } svg .reference { stroke: var(--soft); stroke-dasharray: 4 4; }
svg .line { fill: none; stroke: var(--tone); stroke-width: 2.4; stroke-linejoin: round; stroke-linecap: round; }
svg .faint { fill: none; stroke: var(--tone); opacity: .45; } svg .band { fill: var(--tone); opacity: .16; }
svg .dot, svg .bar { fill: var(--tone); }
.base { --tone: var(--base); } .spo { --tone: var(--spo); } .third { --tone: var(--third); } .fourth { --tone: var(--fourth); } .fifth { --tone: var(--fifth); } .win { --tone: var(--win); } .lose { --tone: var(--lose); }
details { margin-top: 6px; font-size: .88rem; } summary { cursor: pointer; color: var(--soft); }
details table { font-size: .85rem; } details td, details th { padding: 3px 10px; }
.empty { color: var(--soft); padding: 40px 0; text-align: center; }

.strips { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 16px; }
.strip { padding: 16px 18px 6px; }
.strip table { width: auto; } .strip th, .strip td { border: 0; padding: 6px 8px; text-align: center; }
.strip tbody th { min-width: 76px; text-align: left; vertical-align: middle; }
.strip img { display: block; width: 92px; aspect-ratio: 1; object-fit: contain; border-radius: 8px; background: #fff; box-shadow: 0 0 0 1px var(--line); }
.strip .win img { box-shadow: 0 0 0 3px var(--win); } .strip .lose img { box-shadow: 0 0 0 3px var(--lose); }
.strip .none img { opacity: .8; }
.strip .score { font-size: .84rem; margin-top: 5px; } .strip .mark { font-size: .76rem; font-weight: 650; min-height: 1.3em; line-height: 1.3; }
.strip .win .mark { color: var(--win); } .strip .lose .mark { color: var(--lose); } .strip .on { color: var(--ink); }
footer { margin-top: 72px; color: var(--soft); font-size: .88rem; }
@media print { .views, .hint { display: none !important; } .card { box-shadow: none; break-inside: avoid; } body { background: #fff; } }
`;
