// @ts-check
// Makes latent/ of a distilled latent judge: in float16, and without its UNet's way up, which no score depends on.
//
//   npx spo train spm examples/emoji/recipes/latent.json --run runs/emoji/latent
//   node examples/emoji/latent.mjs --from runs/emoji/latent/model
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadLrm, saveLrm } from "spo";

const { values } = parseArgs({ options: { from: { type: "string" } } });
if (!values.from) {
  process.stderr.write("usage: node examples/emoji/latent.mjs --from MODEL\n");
  process.exit(2);
}
const lrm = loadLrm(values.from);
lrm.unet.dropWayUp();
saveLrm(fileURLToPath(new URL("latent", import.meta.url)), lrm, {
  dtype: "float16",
  space: JSON.parse(readFileSync(join(values.from, "config.json"), "utf8")).latent_space,
});
