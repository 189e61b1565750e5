"""The game and its hall of fame, for any runner."""

from eventsourcing.system import System

from consumer.halloffame.application import HallOfFame
from producer.game.application import Game

system = System(pipes=[[Game, HallOfFame]])
