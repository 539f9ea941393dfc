// The options for the sampler and its schedule, by the names that people know.
import { chooseSampler, SAMPLER_LIST, type SamplerChoice, SCHEDULES } from "@spo/diffusion/sampler-names";
import { type Command, Option } from "commander";

/** The options as given; `chosenSampler` resolves them. */
export interface SamplerOptions {
  sampler?: string;
  schedule?: string;
}

/** own: what stands in the help for no sampler. */
export const samplerOptions = (command: Command, own: string): Command =>
  command
    .addOption(
      withChoices(
        new Option(
          "--sampler <name>",
          'also as the web UI, ComfyUI and diffusers call it ("DPM++ 2M Karras")',
        ).default(undefined, own),
        SAMPLER_LIST,
        (sampler) => ({ sampler }),
      ),
    )
    .addOption(
      withChoices(
        new Option("--schedule <name>", "how the noise levels lie").default(undefined, "the model's own way"),
        Object.keys(SCHEDULES),
        (schedule) => ({ schedule }),
      ),
    );

/** Throws a UserError (`USAGE`) for unknown names. */
export const chosenSampler = ({ sampler, schedule }: SamplerOptions): SamplerChoice =>
  chooseSampler({ sampler, schedule });

/** The choices for the help. Every other known name works too, and is kept as it was given. */
function withChoices(option: Option, names: readonly string[], of: (name: string) => SamplerOptions): Option {
  option.argChoices = [...names];
  return option.argParser((name: string) => {
    chosenSampler(of(name));
    return name;
  });
}
