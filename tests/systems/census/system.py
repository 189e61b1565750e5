"""Everything in one application, and who lives in it, for any runner."""

from eventsourcing.system import System

from tests.systems.census.application import Census
from tests.systems.everything.application import EverythingApplication

system = System(pipes=[[EverythingApplication, Census]])
