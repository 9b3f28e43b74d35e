import { Controller, Logger } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { PATTERN } from './broker';
import { readRecords } from './record.schema';
import { RecordsService } from './records.service';

@Controller()
export class RecordsController {
  readonly #logger = new Logger('Records');

  constructor(private readonly records: RecordsService) {}

  /** Answers when the records are stored; an error of the database lets the sender send them again. */
  @MessagePattern(PATTERN)
  async take(@Payload() data: unknown): Promise<{ stored: number; known: number; refused: number }> {
    const { records, refused } = readRecords(data);
    const stored = await this.records.store(records);
    this.#logger.log(`${stored} stored, ${records.length - stored} known already, ${refused} refused`);
    return { stored, known: records.length - stored, refused };
  }
}
