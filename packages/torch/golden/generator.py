"""Golden numbers of torch's CPU generator: python generator.py > generator.json. Made once; the tests need only the file."""
import json

import torch

cases = []
for seed in [0, 42, 2**53]:
    generator = torch.Generator().manual_seed(seed)
    cases.append(
        {
            "seed": seed,
            # Fewer than 16 numbers are drawn one by one, more of them in blocks: two algorithms.
            "randn5": torch.randn(5, generator=generator).tolist(),
            "randn37": torch.randn(37, generator=generator).tolist(),
            "rand6": torch.rand(6, generator=generator).tolist(),
            "randint8": torch.randint(-500, 1000, (8,), generator=generator).tolist(),
            "randperm10": torch.randperm(10, generator=generator).tolist(),
            "uniform3": torch.empty(3, dtype=torch.float64).uniform_(-2, 3, generator=generator).tolist(),
            "multinomial4": torch.multinomial(torch.tensor([0.1, 0.2, 0.3, 0.4]), 4, True, generator=generator).tolist(),
            "normal3": torch.empty(3).normal_(5, 0.5, generator=generator).tolist(),
        }
    )
torch.manual_seed(7)
print(json.dumps({"torch": torch.__version__, "cases": cases, "manual_seed_7": torch.randn(4).tolist()}))
