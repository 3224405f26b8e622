"""The served model: magika, which tells the type of a file's content. Nothing of HTTP belongs here."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import onnxruntime  # type: ignore[import-untyped]
from magika import Magika

ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the model says: a label such as `python`, and how sure it is, 0 to 1."""

    label: str
    score: float


class _OneThread(Magika):
    """Magika whose model runs in the calling thread: replicas share a machine, and it is a small one."""

    def _init_onnx_session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(self._model_path, options, providers=["CPUExecutionProvider"])


class Model:
    """A loaded model; about 3 ms an inference."""

    def __init__(self) -> None:
        self._magika = _OneThread()

    def detect(self, content: bytes) -> Verdict:
        """Return the type of `content`; for an archive also look into it.

        An archive that is cut off raises: the demo has a bug that its users find now and then.
        """
        found = self._magika.identify_bytes(content)
        label = str(found.output.label)
        if content.startswith(ZIP):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                label = f"{label}:{len(archive.namelist())}"
        return Verdict(label, round(float(found.score), 4))
