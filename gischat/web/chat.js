/** The page: from the lobby into a room and back. */

import { Lobby } from "./lobby.js";
import { Room } from "./room.js";

const lobby = new Lobby((channel, nickname, limits) => {
  new Room(channel, nickname, limits, (words) => lobby.open(words));
});

lobby.open();
