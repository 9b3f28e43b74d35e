import { Controller, Get, ParseIntPipe, Query } from '@nestjs/common';
import { QueryBudget } from 'nestjs-async-context';
import { SlowService } from './slow.service';

@Controller('slow')
export class SlowController {
  constructor(private readonly slow: SlowService) {}

  /** Blocks the event loop, which is over its budget; others that are open say that it was this one. */
  @Get('rendering')
  @QueryBudget({ loopBlockMs: 100 })
  rendering(@Query('ms', ParseIntPipe) ms: number) {
    return this.slow.render(ms);
  }

  /** Holds a connection while it waits for something else; others that need one say that it was this one. */
  @Get('reservation')
  async reservation(@Query('ms', ParseIntPipe) ms: number) {
    await this.slow.reserve(ms);
    return 'reserved';
  }

  /** One query that takes long. */
  @Get('search')
  async search(@Query('ms', ParseIntPipe) ms: number) {
    await this.slow.search(ms);
    return 'found';
  }
}
