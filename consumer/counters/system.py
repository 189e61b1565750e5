"""The dog school and its counters, for any runner."""

from eventsourcing.system import System

from consumer.counters.application import Counters
from producer.dogschool.application import DogSchool

system = System(pipes=[[DogSchool, Counters]])
