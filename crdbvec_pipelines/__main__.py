"""`python -m crdbvec_pipelines`: the command `crdbvec`, for an environment whose scripts are not on PATH."""

from crdbvec_pipelines.cli import main

if __name__ == "__main__":
    main(prog_name="crdbvec")
