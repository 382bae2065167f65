PYTHON ?= python3
VENV := .venv
# ROS wheels to use where no distribution is sourced: kilted or jazzy.
export ROS_WHEELS ?= kilted
STAMP := $(VENV)/.set-up-with-$(if $(AMENT_PREFIX_PATH),distribution,$(ROS_WHEELS)-wheels)
EVERYTHING := import mujoco, rclpy, torch, transformers, instructseg_ros.msg as m; \
  from rclpy.type_support import check_for_type_support as check; check(m.Segmentation)
INPUTS := scripts/set_up.py setup.py package.xml CMakeLists.txt \
  $(wildcard requirements/* cmake/* msg/* srv/* action/*)

RUN := $(VENV)/bin/python
ifdef AMENT_PREFIX_PATH
# The sourced distribution must find our libraries and our share folder, too.
RUN := AMENT_PREFIX_PATH="$(CURDIR)/$(VENV):$$AMENT_PREFIX_PATH" \
  LD_LIBRARY_PATH="$(CURDIR)/$(VENV)/lib:$$LD_LIBRARY_PATH" $(RUN)
endif

# If another environment's ROS wheels set this, ours would not find their libraries.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: help setup demo test colcon lint clean

help: ## Show this help
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: $(STAMP) ## Create .venv with all dependencies and build the interfaces

$(STAMP): $(INPUTS)
	$(PYTHON) scripts/set_up.py $(VENV)
	@MUJOCO_GL=disable $(RUN) -c '$(EVERYTHING)' || { echo 'Remove $(VENV) and run make setup again'; exit 1; }
	@touch $@

demo: $(STAMP) ## Run the simulated camera and the node; images and figures go to demo/
	$(RUN) -m instructseg_ros.tabletop.demo

# All tests of a file run in one process, whose nodes have their own ROS domain. More than one thread
# per process would only compete for the cores.
test: $(STAMP) ## Run the tests, in up to four processes
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n logical --maxprocesses 4 --dist loadfile

colcon: $(STAMP) ## Build and test with colcon in a scratch workspace
	$(VENV)/bin/python scripts/colcon_smoke.py

lint: $(STAMP) ## Check format, style and types
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

clean: ## Remove build outputs (.venv stays; remove it by hand)
	rm -rf build demo *.egg-info instructseg_ros/msg instructseg_ros/srv instructseg_ros/action
	rm -f instructseg_ros/*.so $(VENV)/.set-up-with-*
