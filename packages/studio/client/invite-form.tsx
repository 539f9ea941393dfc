import { useState } from "preact/hooks";
import type { Fault, Invitation } from "../src/api.ts";
import { FaultWords } from "./fault-words.tsx";
import { tell } from "./remote.ts";

/** Makes a link by which somebody judges, and sees nothing else. */
export function InviteForm({ id }: { id: string }) {
  const [name, setName] = useState("");
  const [link, setLink] = useState<Invitation>();
  const [fault, setFault] = useState<Fault>();
  return (
    <section class="panel">
      <h2>Invite somebody</h2>
      <form
        class="bar"
        onSubmit={(event) => {
          event.preventDefault();
          tell<Invitation>("POST", `/api/judging/${id}/invites`, { labeller: name.trim() }).then((found) => {
            setLink(found);
            setFault(undefined);
          }, setFault);
        }}
      >
        <label>
          Name, as it is to stand in the votes{" "}
          <input
            type="text"
            value={name}
            maxLength={100}
            required
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        <button type="submit">Make a link</button>
      </form>
      {fault && <FaultWords fault={fault} />}
      {link && (
        <label>
          For {link.labeller} alone; it lets vote here, and see nothing else{" "}
          <input
            class="wide"
            type="text"
            readOnly
            value={location.origin + link.path}
            onFocus={(event) => event.currentTarget.select()}
          />
        </label>
      )}
    </section>
  );
}
