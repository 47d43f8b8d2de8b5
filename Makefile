# SPDX-License-Identifier: GPL-3.0-or-later
# A menu; what "make help" does not list is not supported. Needs root on a Debian 12 or later, and nothing else.

PYTHON ?= python3
# What the tests need is there; what builds and boots makes do with Python alone
WITH_TESTS = .venv/bin/python

.PHONY: help demo test check html pictures deb autopkgtest box chaos seams soak chat odd oom bench upgrade clean

help:
	@echo "make demo    build, install on a real systemd, record a live broadcast, join it; 'make demo HOST=1' uses"
	@echo "             this machine's own systemd instead of a box in namespaces"
	@echo "make test    lint, unit, component and package; in boxes with a real systemd: integration, faults at random,"
	@echo "             every frame counted; and a vm with a kernel of its own. Wants an idle machine, 40 minutes;"
	@echo "             REPEAT=…: so many times, and a count of what passed"
	@echo "make check   lint and unit tests only"
	@echo "make html    the documents and man pages as a web site, in build/html/"
	@echo "make pictures  what the commands show of a real recording, as SVGs in docs/pictures/"
	@echo "make deb     build the package into dist/"
	@echo "make autopkgtest  debian/tests, as Debian runs them, in boxes"
	@echo "make lock    write anew which streamlink is installed, and the checksums of its wheels"
	@echo "make box     boot a box with the package installed, and open a shell in it"
	@echo "make chaos   faults at random instants, then an account of every frame and death: SEED=… MINUTES=… RECORDINGS=…"
	@echo "             POSTGRES=1: with a catalogue in PostgreSQL, which is killed, stopped and frozen, too"
	@echo "             VM=1: in a vm, where segments run out of memory, too"
	@echo "make seams   rotations and kills at random instants, every frame counted: ROTATIONS=… KILLS=… SEED=…"
	@echo "make soak    the same for hours of media at several times their speed: HOURS=… SPEED=… ROTATIONS=… KILLS=… SEED=…"
	@echo "make chat    a chat with 200 messages a second and every fault in turn, each message counted: MINUTES=… RATE=…;"
	@echo "             or what so many captures cost: CHANNELS=…"
	@echo "make odd     odd sources, recorded beside other programs and counted against a perfect client: SEED=… N=…,"
	@echo "             or ONLY=NUMBER,… of them; CASES=… instead: sources with one fault each, by name;"
	@echo "             BESIDE= without other programs"
	@echo "make oom     a kernel kills streamlinks for want of memory, in a vm, beside one that never notices: KILLS=…"
	@echo "make bench   from a death to its replacement's exec, side by side with systemd's own Restart=: KILLS=…"
	@echo "make upgrade install this tree's package over that of FROM=… while RECORDINGS=… run, and count every frame"
	@echo "make clean   remove what was built here; the cache in /var/cache/streamvaultd-testbed stays"

demo:
	$(PYTHON) -m tests.testbed demo $(if $(HOST),--host)

test:
	$(PYTHON) -m tests.testbed.stages $(if $(REPEAT),--repeat $(REPEAT))

check:
	$(PYTHON) -m tests.testbed.stages setup lint unit

html:
	$(PYTHON) -m tests.testbed.stages setup html

pictures:
	$(PYTHON) -m tests.testbed setup --tests
	$(WITH_TESTS) -m tests.testbed.pictures

deb:
	$(PYTHON) -m tests.testbed setup
	$(PYTHON) -m tests.testbed deb

autopkgtest:
	$(PYTHON) -m tests.testbed.autopkgtest

lock:
	$(PYTHON) -m tests.testbed.streamlinklock

box: deb
	$(PYTHON) -m tests.testbed boot --name box --deb dist/streamvaultd_*.deb
	$(PYTHON) -m tests.testbed shell box
	$(PYTHON) -m tests.testbed stop box

chaos:
	$(PYTHON) -m tests.testbed setup --tests
	$(WITH_TESTS) -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(RECORDINGS),--recordings $(RECORDINGS)) $(if $(VM),--machine vm) $(if $(POSTGRES),--postgres)

bench:
	$(PYTHON) -m tests.testbed setup --tests
	$(WITH_TESTS) -m tests.testbed.latency $(if $(KILLS),--kills $(KILLS))

upgrade:
	$(PYTHON) -m tests.testbed setup --tests
	$(WITH_TESTS) -m tests.testbed.upgrade $(if $(FROM),--from $(FROM)) $(if $(RECORDINGS),--recordings $(RECORDINGS))

seams:
	$(PYTHON) -m tests.testbed setup --tests
	$(WITH_TESTS) -m tests.seams $(if $(SEED),--seed $(SEED)) $(if $(ROTATIONS),--rotations $(ROTATIONS)) \
		$(if $(KILLS),--kills $(KILLS))

soak: HOURS = 12
soak: ROTATIONS = 200
soak: KILLS = 200
soak:
	$(PYTHON) -m tests.testbed setup --tests
	$(WITH_TESTS) -m tests.seams --hours $(HOURS) $(if $(SPEED),--speed $(SPEED)) $(if $(SEED),--seed $(SEED)) \
		--rotations $(ROTATIONS) --kills $(KILLS)

chat:
	$(PYTHON) -m tests.testbed setup --tests
	$(WITH_TESTS) -m tests.testbed.chatbench $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE)) \
		$(if $(CHANNELS),--channels $(CHANNELS))

# What stands beside is of no use to other tests
odd: BESIDE = streamlink,yt-dlp,ffmpeg
odd:
	$(PYTHON) -m tests.testbed setup --tests
	$(WITH_TESTS) -m pip install --quiet --disable-pip-version-check yt-dlp
	$(WITH_TESTS) -m tests.odd $(if $(SEED),--seed $(SEED)) $(if $(N),--count $(N)) $(if $(ONLY),--only $(ONLY)) \
		$(if $(CASES),--cases '$(CASES)') $(if $(BESIDE),--beside $(BESIDE)) \
		$(if $(STEADY),--steady $(STEADY)) $(if $(BUSY),--busy $(BUSY))

oom: KILLS = 50
oom:
	$(PYTHON) -m tests.testbed setup --tests
	$(WITH_TESTS) -m pytest tests/vm/test_oom.py --kills $(KILLS)

clean:
	rm -rf build dist .venv
