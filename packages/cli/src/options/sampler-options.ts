// The sampler and the schedule of its levels, by the names that people know them by.
import { chooseSampler, SAMPLER_LIST, type SamplerChoice, SCHEDULES } from "@spo/diffusion/sampler-names";
import { type Command, Option } from "commander";

/** The options as they are given; `chosenSampler` says what they mean. */
export interface SamplerOptions {
  sampler?: string;
  schedule?: string;
}

/** own: what stands in the help for no sampler. */
export const samplerOptions = (command: Command, own: string): Command =>
  command
    .addOption(
      new Option(
        "--sampler <name>",
        `${SAMPLER_LIST.join(", ")}; also as the web UI, ComfyUI and diffusers call it ("DPM++ 2M Karras")`,
      )
        .argParser((sampler: string) => known({ sampler }, sampler))
        .default(undefined, own),
    )
    .addOption(
      new Option(
        "--schedule <name>",
        `how the noise levels lie: ${Object.keys(SCHEDULES).join(", ")}; automatic is the model's own way`,
      )
        .argParser((schedule: string) => known({ schedule }, schedule))
        .default(undefined, "automatic"),
    );

/** Throws a UserError (`USAGE`) for names that mean nothing here. */
export const chosenSampler = ({ sampler, schedule }: SamplerOptions): SamplerChoice =>
  chooseSampler({ sampler, schedule });

/** A name that is known is kept as it was given. Throws as `chosenSampler`. */
function known(options: SamplerOptions, name: string): string {
  chosenSampler(options);
  return name;
}
