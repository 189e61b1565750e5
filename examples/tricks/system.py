"""The tricks of the dog school in Postgres: what is run, and what its commands are told."""

from eventsourcing_kafka.consumer.hosting.systems import Projected
from examples.dogschool.application import DogSchool
from examples.tricks.postgres import PostgresTricksView
from examples.tricks.projection import Tricks

tricks = Projected(DogSchool, Tricks, PostgresTricksView)
