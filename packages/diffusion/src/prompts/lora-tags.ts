// LoRAs that a prompt calls for: <lora:name>, <lora:name:0.8>, <lora:name:0.8:0.5>, as A1111's web UI writes them.
import { UserError } from "@spo/torch";

/** A LoRA by the name of its file, and its strength in the UNet and in the text encoders. */
export interface LoraTag {
  name: string;
  weight: number;
  textWeight: number;
}

const TAG = /<(?:lora|lyco):([^<>]*)>/g;

/**
 * Takes the LoRAs out of a prompt. The first number is the text encoders' strength, and the UNet's too where there is no second. Each may
 * be named: `te=0.5`, `unet=0.8`. Default 1.
 *
 * Throws a UserError (`USAGE`) for one without a name and for a strength that is no number. Source: A1111's web UI, `ExtraNetworkLora`.
 */
export function takeLoraTags(prompt: string): { prompt: string; loras: LoraTag[] } {
  const loras: LoraTag[] = [];
  const rest = prompt.replace(TAG, (tag, inside: string) => {
    const [name = "", ...settings] = inside.split(":").map((part) => part.trim());
    const places = settings.filter((part) => !part.includes("="));
    const named = new Map(
      settings.flatMap((part) => (part.includes("=") ? [part.split("=", 2) as [string, string]] : [])),
    );
    const strength = (text: string | undefined, otherwise: number): number => {
      if (text === undefined) return otherwise;
      const value = Number(text);
      if (text.trim() === "" || !Number.isFinite(value))
        throw new UserError(`${tag}: ${JSON.stringify(text)} is no strength.`, {
          code: "USAGE",
          hint: "Write <lora:name:0.8>.",
        });
      return value;
    };
    if (name === "")
      throw new UserError(`${tag} has no name.`, { code: "USAGE", hint: "Write <lora:name:0.8>." });
    const textWeight = strength(named.get("te") ?? places[0], 1);
    const weight = strength(named.get("unet") ?? places[1], textWeight);
    loras.push({ name, weight, textWeight });
    return "";
  });
  return { prompt: loras.length > 0 ? rest.trim() : prompt, loras };
}
