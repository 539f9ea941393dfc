import { useState } from "preact/hooks";
import type { JudgingResults } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { InviteForm } from "./invite-form.tsx";
import { useRemote, useTicks } from "./remote.ts";
import { TrainOnVotes } from "./train-on-votes.tsx";

const REFRESH_MS = 3000;
/** Below it people see no difference that they agree on. */
const LEAST_AGREEMENT = 0.2;

const percent = (share: number): string => `${Math.round(100 * share)} %`;

/** What the votes say, in a sentence. */
export function verdictOfVotes({
  names,
  rate,
  votes,
  visible,
  agreement,
  models,
  labellers,
}: JudgingResults): string {
  if (!rate) return votes === 0 ? "Nobody has voted yet." : "No vote prefers a picture yet.";
  if (agreement && agreement.value < LEAST_AGREEMENT)
    return "People do not agree: the difference is not one that they see.";
  const seen =
    visible === undefined
      ? ""
      : ` With so many votes a share beyond ${percent(0.5 + visible)} would be seen.`;
  const [best, next] = models ?? [];
  if (best && next)
    return best.strength.low > next.strength.high
      ? `${best.name} is preferred, before ${next.name}.`
      : `${best.name} leads, and ${next.name} may be as good: their intervals overlap.`;
  if (!names) {
    const people = labellers.length === 1 ? "one person" : `${labellers.length} people`;
    return `${votes === 1 ? "One vote" : `${votes} votes`} by ${people}.`;
  }
  const interval = `${percent(rate.value)} (${percent(rate.low)} to ${percent(rate.high)})`;
  if (rate.low > 0.5) return `${names[1]} is preferred to ${names[0]}: ${interval} of the votes.`;
  if (rate.high < 0.5) return `${names[0]} is preferred to ${names[1]}, which gets ${interval} of the votes.`;
  return `No difference is shown: ${names[1]} gets ${interval} of the votes.${seen}`;
}

/** The votes so far. */
export function JudgingResultsView({ id }: { id: string }) {
  const [version, setVersion] = useState(0);
  const ticks = useTicks(REFRESH_MS);
  const { value, fault } = useRemote<JudgingResults>(`/api/judging/${id}/results`, `${ticks} ${version}`);
  if (fault) return <FaultWords fault={fault} />;
  if (!value) return <p class="dim">Counting …</p>;
  const { names, wins, ties, bothBad, skipped, agreement, models, labellers } = value;
  const facts: [string, string | number][] = [
    ["Votes", value.votes],
    [`For ${names?.[0] ?? "image 0"}`, wins[0]],
    [`For ${names?.[1] ?? "image 1"}`, wins[1]],
    ["Equally good", ties],
    ["Both bad", bothBad],
    ["Skipped", skipped],
    ...(agreement
      ? [
          [`Agreement (${agreement.by}, ${agreement.pairs} pairs)`, agreement.value.toFixed(2)] as [
            string,
            string,
          ],
        ]
      : []),
  ];
  return (
    <>
      <p class="essence">{verdictOfVotes(value)}</p>
      {value.training && (
        <TrainOnVotes
          id={id}
          training={value.training}
          votes={value.votes}
          onStart={() => setVersion(version + 1)}
        />
      )}
      <section class="panel">
        <dl class="facts">
          {facts.map(([what, count]) => (
            <div key={what}>
              <dt>{what}</dt>
              <dd>{count}</dd>
            </div>
          ))}
        </dl>
      </section>
      {models && (
        <section class="panel scrolls">
          <table>
            <thead>
              <tr>
                <th scope="col">Model</th>
                <th scope="col">Strength</th>
                <th scope="col">95 % interval</th>
                <th scope="col">Votes</th>
              </tr>
            </thead>
            <tbody>
              {models.map(({ name, votes, strength }) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td>{strength.value.toFixed(2)}</td>
                  <td>
                    {strength.low.toFixed(2)} to {strength.high.toFixed(2)}
                  </td>
                  <td>{votes}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <p class="dim">
            By Bradley–Terry with ties. A model that is stronger by 1 wins 73 of 100 votes that are no tie, by
            2 wins 88.
          </p>
        </section>
      )}
      {labellers.length > 0 && (
        <section class="panel scrolls">
          <table>
            <thead>
              <tr>
                <th scope="col">Who</th>
                <th scope="col">Votes</th>
                <th scope="col">Left</th>
                <th scope="col">Same again</th>
                <th scope="col">Gold</th>
                <th scope="col">Too fast</th>
              </tr>
            </thead>
            <tbody>
              {labellers.map(({ name, votes, left, leftP, repeats, agreed, gold, goldRight, hasty }) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td>{votes}</td>
                  <td>
                    {left === undefined ? "–" : percent(left)}
                    {leftP < 0.05 && " (favours a side)"}
                  </td>
                  <td>{repeats === 0 ? "–" : `${agreed} of ${repeats}`}</td>
                  <td>{gold === 0 ? "–" : `${goldRight} of ${gold}`}</td>
                  <td>{hasty}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      <InviteForm id={id} />
    </>
  );
}
