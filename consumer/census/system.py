"""Everything in one application, and who lives in it, for any runner."""

from eventsourcing.system import System

from consumer.census.application import Census
from producer.everything.application import EverythingApplication

system = System(pipes=[[EverythingApplication, Census]])
