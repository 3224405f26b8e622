"""The served model: magika, which detects the type of file content. Nothing about HTTP belongs here."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import onnxruntime  # type: ignore[import-untyped]
from magika import Magika

ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Classification:
    """The model's output: a label such as `python`, and a score from 0 to 1."""

    label: str
    score: float


class _OneThread(Magika):
    """Magika with its model running in the calling thread: the replicas share one small machine."""

    def _init_onnx_session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(self._model_path, options, providers=["CPUExecutionProvider"])


class Model:
    """A loaded model; an inference takes about 3 ms."""

    def __init__(self) -> None:
        self._magika = _OneThread()

    def detect(self, content: bytes) -> Classification:
        """Return the type of `content`, and for an archive also its number of entries.

        A truncated archive raises: a deliberate bug that the demo's users run into now and then.
        """
        found = self._magika.identify_bytes(content)
        label = str(found.output.label)
        if content.startswith(ZIP):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                label = f"{label}:{len(archive.namelist())}"
        return Classification(label, round(float(found.score), 4))
