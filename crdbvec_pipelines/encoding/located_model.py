"""Where a model by name is: in a folder that is given, or in the copy of a repository of the hub."""

from pathlib import Path

from crdbvec_pipelines.encoding.errors import ModelError
from crdbvec_pipelines.encoding.hub import download_model, find_model, is_folder
from crdbvec_pipelines.encoding.model_folder import folder_weights
from crdbvec_pipelines.encoding.weights import Weights


def locate_model(name: str, revision: str | None, *, download: bool = False) -> tuple[Weights, str | None]:
    """Return the folder of a model, and the commit of its repository; None for the commit of a folder.

    Args:
        name: The id of a repository, as `organization/model`, or a folder.
        revision: A branch, a tag or a commit of the repository; None for its default.
        download: Whether to download it also if it is on this machine, which pins it to the present commit.

    Raises:
        ModelError: The model is not on this machine and cannot be downloaded, or its files are not safe to load.
    """
    if is_folder(name):
        if revision is not None:
            raise ModelError("The setting `revision` is for repositories of the hub. Remove it.")
        return folder_weights(Path(name).expanduser()), None
    model = (None if download else find_model(name, revision)) or download_model(name, revision)
    return folder_weights(model.directory), model.commit
