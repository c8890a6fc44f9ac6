"""What pyproject.toml cannot say: `configs/` and `pretrained/` at the top of a clone become package data of `rtseg`."""
from setuptools import find_packages, setup

setup(package_dir={"": "src", "rtseg.configs": "configs", "rtseg.pretrained": "pretrained"},
      packages=find_packages("src") + ["rtseg.configs", "rtseg.pretrained"],
      package_data={"rtseg.config": ["*.yaml"], "rtseg.tools": ["*.yaml"],
                    "rtseg.configs": ["*.yaml", "*/*.yaml", "schema/*.json"], "rtseg.pretrained": ["*"]})
