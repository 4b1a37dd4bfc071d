"""The options of `caption`, by sd-scripts' names for them."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.field import setting

ENDINGS = (".txt", ".caption")  # a picture that has either counts as captioned
SEED, LENGTH, TOP_P = 42, 75, 0.9  # as in sd-scripts


@dataclass(frozen=True)
class Options:
    """What `caption` takes."""

    train_data_dir: str | None = setting(
        None, "folder of pictures: its own, and those in its <repeats>_<text> folders", kind="path", behind="FOLDER"
    )
    model: str = setting("blip-large", "which captioner: blip-large or florence-2-base", behind="NAME")
    model_dir: str = setting("", "folder of the captioners; left out: models/captioners", kind="path", behind="FOLDER")
    task: str = setting(
        "", "of florence-2-base: caption (a sentence), detailed (several) or more_detailed (a paragraph); left out: caption"
    )
    recursive: bool = setting(False, "the pictures of all folders below, too")
    caption_extension: str = setting(".txt", "ending of the caption files; `train` reads .txt", kind="extension")
    append: bool = setting(False, "add to captions that exist; without it and without --overwrite such pictures are skipped")
    overwrite: bool = setting(False, "write captions that exist anew; `captions undo` brings the old ones back")
    caption_separator: str = setting(", ", "what stands between a caption that exists and what is added")
    batch_size: int = setting(1, "pictures that are described together; of an endpoint: asked for at once", low=1)
    max_data_loader_n_workers: int = setting(0, "threads that decode pictures; 0: as many as there are processors, at most 8", low=0)
    beam_search: bool = setting(False, "search for the best words instead of drawing them")
    num_beams: int | None = setting(
        None, "paths of that search, which more than 1 switches on; left out: 1 for blip, 3 for florence", low=1
    )
    top_p: float | None = setting(
        None, "words are drawn from the likeliest whose probabilities sum to it; left out: 0.9, an endpoint's own", low=0.01, high=1
    )
    max_length: int | None = setting(None, "longest caption in tokens; left out: 75, an endpoint's own", low=1)
    min_length: int = setting(5, "shortest caption in tokens; not for an endpoint", low=0)
    seed: int | None = setting(None, "draws follow from it and from the picture; left out: 42, an endpoint's own", low=0)
    debug: bool = setting(False, "show each picture's caption")
    device: str | None = setting(None, "cpu, cuda or cuda:1; left out: the NVIDIA card if there is one")
    endpoint: str = setting(
        "", "address of an OpenAI-compatible server; each picture is sent there; left out: nothing is sent", behind="URL"
    )
    endpoint_model: str = setting("", "the model's name at the endpoint; left out: its own choice", behind="NAME")
    endpoint_key: str = setting("", "the environment variable that holds the endpoint's key; left out: no key", behind="VARIABLE")
    endpoint_prompt: str = setting("", "what the endpoint is asked of each picture; left out: one sentence")
    endpoint_size: int = setting(1024, "longer side in pixels of what is sent; larger pictures are made smaller", low=64)
    endpoint_timeout: float = setting(120.0, "seconds without a byte after which the endpoint is asked again", low=1)

    def beams(self, usual: int) -> int:
        """Paths of the search; 1: words are drawn. `usual` is the model's own number, and what is given wins over it."""
        if self.num_beams is not None:
            return self.num_beams
        return usual if self.beam_search or self.top_p is None else 1

    def extensions(self) -> str:
        """The endings of captions that count as there, the one that is written first."""
        given = self.caption_extension.split(",")
        others = [] if self.overwrite else [ending for ending in ENDINGS if ending not in given]
        return ",".join([*given, *others])
