"""The game and its hall of fame, for any runner."""

from eventsourcing.system import System

from examples.game.application import Game
from examples.halloffame.application import HallOfFame

system = System(pipes=[[Game, HallOfFame]])
