"""What it takes to save, load and export a model: prints a table for the documentation.

    python benchmarks/files.py

One thread. Times are medians; those of a file include bringing it to disk.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import skflow
from skflow.persistence.container import size_of, unpacked

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--flows", nargs="*", default=["nsf", "nsf-coupling", "maf", "realnvp", "naf", "bpf", "sos"])
parser.add_argument("--rows", type=int, default=20_000, help="to score")
parser.add_argument("--batch", type=int, default=1000, help="rows that onnxruntime is handed at a time")


def timed(function, repeats):
    """Median of the seconds that a call takes."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def bytes_of_tensors(path):
    with open(path, "rb") as file:
        return sum(array.nbytes for array in unpacked(file, size_of(file)).arrays.values())


def main():
    import onnxruntime

    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    X = np.random.RandomState(0).standard_t(5, size=(args.rows, 8)).astype(np.float32)
    X[:, 1] += X[:, 0] ** 2
    folder = Path(tempfile.mkdtemp())
    print(f"{'':24} save (ms)  load (ms)  file / tensors")
    classes = skflow.FlowDensity, skflow.FlowOutlierDetector, skflow.FlowClassifier, skflow.FlowRegressor
    for cls, rows in ((skflow.FlowDensity, args.rows), *((cls, 1000) for cls in classes)):
        y = {skflow.FlowClassifier: X[:rows, 0] > 0, skflow.FlowRegressor: X[:rows, 1]}.get(cls)
        estimator, path = cls(max_iter=3, random_state=0).fit(X[:rows], y), folder / "model.safetensors"
        save, load = timed(lambda e=estimator, p=path: e.save(p), 21), timed(lambda p=path: skflow.load(p), 21)
        share = path.stat().st_size / bytes_of_tensors(path)
        print(f"{cls.__name__:19} {rows:6d} {1e3 * save:9.1f} {1e3 * load:10.1f} {share:10.3f}")
    print(f"\n{'rows a second':24} onnxruntime  skflow without numba  ratio")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name in args.flows:
        estimator = skflow.FlowDensity(name, max_iter=2, random_state=0).fit(X)
        skflow.export_onnx(estimator, folder / "model.onnx")
        session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])

        def by_onnx(session=session):
            for start in range(0, len(X), args.batch):
                session.run(None, {"X": X[start : start + args.batch]})

        estimator._kernels = False  # compiled loops
        ours = timed(lambda e=estimator: e.score_samples(X), 5)
        onnx = timed(by_onnx, 5)
        print(f"{name:24} {len(X) / onnx:11.0f} {len(X) / ours:21.0f} {ours / onnx:6.2f}")


if __name__ == "__main__":
    main()
