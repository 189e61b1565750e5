"""The dog school and its counters, for any runner."""

from eventsourcing.system import System

from examples.counters.application import Counters
from examples.dogschool.application import DogSchool

system = System(pipes=[[DogSchool, Counters]])
