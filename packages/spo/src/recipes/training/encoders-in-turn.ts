// Text encoders that share a device which need not hold them all.
import { CLIPTextModel, T5EncoderModel, type TextToImage } from "@spo/diffusion";
import { type Device, keep, noGrad, type Tensor } from "@spo/torch";

/** A model that reads token ids. */
export type TextEncoder = CLIPTextModel | T5EncoderModel;

/** The text encoders of a pipeline. */
export const textEncodersOf = ({ models }: Pick<TextToImage, "models">): TextEncoder[] =>
  Object.values(models).filter((model) => model instanceof CLIPTextModel || model instanceof T5EncoderModel);

/**
 * Runs fn with frozen text encoders that are on the CPU. Each comes onto the device when it is to read, and leaves it when another is: the
 * device holds one at a time. Their values stay on the CPU meanwhile, and stand there alone in the end.
 */
export function inTurn(encoders: readonly TextEncoder[], device: Device, fn: () => void): void {
  let present: TextEncoder | undefined;
  let onCpu = new Map<Tensor, Tensor>();
  const leave = (): void => {
    for (const [parameter, value] of onCpu) {
      parameter.assign(value);
      value.dispose();
    }
    onCpu = new Map();
  };
  const come = (encoder: TextEncoder): void => {
    if (present === encoder) return;
    leave();
    onCpu = new Map(encoder.parameters().map((parameter) => [parameter, keep(parameter.detach())]));
    present = encoder.to({ device });
  };
  for (const encoder of encoders) {
    const { forward } = encoder;
    const here = (...args: unknown[]): unknown => {
      come(encoder);
      return Reflect.apply(forward, encoder, args);
    };
    Object.assign(encoder, { forward: here });
  }
  try {
    noGrad(fn);
  } finally {
    leave();
    for (const encoder of encoders) Reflect.deleteProperty(encoder, "forward");
  }
}
